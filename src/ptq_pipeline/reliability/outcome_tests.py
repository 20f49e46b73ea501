"""One entry to the tests of many cells: single samples by exact tests, clusters by bets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ptq_pipeline.reliability.betting import Units, units_above, units_below, units_interval
from ptq_pipeline.reliability.cells import Cells, Counts
from ptq_pipeline.reliability.interval import drop_interval
from ptq_pipeline.reliability.paired import shown_above, shown_below


def cells_below(
    counts: Counts,
    cells: Cells,
    chosen: NDArray[np.int64],
    limit: NDArray[np.float64],
    alpha: float,
) -> NDArray[np.bool_]:
    """Whether each chosen cell of each trial is shown to be below its limit.

    Args:
        counts: Outcomes.
        cells: The cells.
        chosen: Positions of testable cells.
        limit: Limit per cell, fractions, shape (cells,).
        alpha: Level of each test.

    Returns:
        Shape (trials, chosen).
    """
    return _decide(counts, cells, chosen, limit, alpha, shown_below, units_below)


def cells_above(
    counts: Counts,
    cells: Cells,
    chosen: NDArray[np.int64],
    limit: NDArray[np.float64],
    alpha: float,
) -> NDArray[np.bool_]:
    """Whether each chosen cell of each trial is shown to be above its limit; as cells_below."""
    return _decide(counts, cells, chosen, limit, alpha, shown_above, units_above)


def cell_intervals(counts: Counts, cells: Cells, row: int, alpha: float) -> NDArray[np.float64]:
    """Intervals of one trial that hold together for all cells (Bonferroni), shape (cells, 2).

    A clustered cell whose clusters are not known has the interval (-1, 1): nothing is shown.
    """
    share = alpha / max(len(cells), 1)
    rows = []
    for i in range(len(cells)):
        if i in counts.clusters:
            rows.append(units_interval(_units(counts, i, row), share))
        elif cells.clustered[i]:
            rows.append((-1.0, 1.0))
        else:
            lost, gained = int(counts.lost[row, i]), int(counts.gained[row, i])
            rows.append(drop_interval(lost, gained, int(cells.n[i]), share))
    return np.array(rows, dtype=np.float64).reshape(len(rows), 2)


def _units(counts: Counts, cell: int, row: int) -> Units:
    found = counts.clusters[cell]
    return Units.of(found.size, found.net[row])


def _decide(
    counts: Counts,
    cells: Cells,
    chosen: NDArray[np.int64],
    limit: NDArray[np.float64],
    alpha: float,
    exact: Callable[..., NDArray[np.bool_]],
    bet: Callable[[Units, float, float], bool],
) -> NDArray[np.bool_]:
    decided = np.zeros((len(counts.trial_ids), len(chosen)), dtype=np.bool_)
    if decided.size == 0:
        return decided
    clustered = cells.clustered[chosen]
    single = chosen[~clustered]
    if single.size:
        decided[:, ~clustered] = exact(
            counts.lost[:, single], counts.gained[:, single], cells.n[single], limit[single], alpha
        )
    for column in np.flatnonzero(clustered):
        cell = int(chosen[column])
        if cell not in counts.clusters:
            continue
        for row in range(len(counts.trial_ids)):
            decided[row, column] = bet(_units(counts, cell, row), float(limit[cell]), alpha)
    return decided
