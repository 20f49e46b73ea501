"""One judge for whatever has outcomes on the cells: draws, the candidate, the champion's rival.

A trial is *shown good* when every judged cell is shown to be below its limit: an intersection-union
test, which needs no correction. It is *shown bad* when one cell, judged or not, is shown to be
above its limit, at a level that is corrected for looking at all of them. Single samples are judged
by exact tests (:mod:`.paired`), clusters by bets (:mod:`.betting`).

The level of *shown bad* is fixed from counts alone. A cell whose images could not show a loss even
if all of them were lost can never be refused, so it need not be paid for (Tarone 1990, "A modified
Bonferroni method for discrete data", Biometrics 46): the level is ``alpha / k`` with the smallest
``k`` for which at most ``k`` cells could be shown bad at that level. Those that cannot never are,
so all tests together err with probability at most ``k * alpha / k = alpha``.

For ``n`` single images the smallest possible p-value of ``drop <= limit`` is that of ``n`` losses.
It is largest where the nuisance ``p_gained`` is, at ``(1 - limit) / 2``: ``((1 + limit) / 2)**n``.
For clusters it is one over the capital of a bet in which every image is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.reasons import Result, combine
from ptq_pipeline.statistics.betting import (
    Units,
    log_capital,
    units_above,
    units_below,
    units_interval,
    upper_bound,
)
from ptq_pipeline.statistics.interval import drop_interval
from ptq_pipeline.statistics.paired import shown_above, shown_below

Status = Literal["shown_good", "shown_bad", "open", "not_judged"]
_RESULTS: dict[Status, Result] = {
    "shown_good": "PASS",
    "shown_bad": "FAIL",
    "open": "INCONCLUSIVE",
}


@dataclass(frozen=True)
class FailFamily:
    """The tests for FAIL of one trial.

    Attributes:
        cells: Positions of the cells that can be shown bad, shape (tested,).
        level: Level of each of their tests.
    """

    cells: NDArray[np.int64]
    level: float

    @property
    def size(self) -> int:
        """Tests, at least 1."""
        return max(len(self.cells), 1)


@dataclass(frozen=True)
class Judged:
    """What is shown of every cell of every trial.

    Attributes:
        cells: The cells.
        counts: The outcomes.
        good: Whether the drop is shown to be below its limit, shape (trials, cells).
        bad: Whether it is shown to be above, shape (trials, cells); both are False in cells that
            are not tested.
    """

    cells: Cells
    counts: Counts
    good: NDArray[np.bool_]
    bad: NDArray[np.bool_]

    @property
    def shown_good(self) -> NDArray[np.bool_]:
        """Whether every judged cell of a trial is shown good, and there is one, shape (trials,)."""
        judged = self.cells.judged
        return np.all(self.good[:, judged], axis=1) & bool(judged.any())

    @property
    def shown_bad(self) -> NDArray[np.bool_]:
        """Whether some cell of a trial is shown bad, shape (trials,)."""
        return np.any(self.bad, axis=1)

    def status(self, row: int = 0) -> tuple[Status, ...]:
        """What is shown of every cell of one trial."""
        shown = np.select(
            [self.bad[row], ~self.cells.judged, self.good[row]],
            ["shown_bad", "not_judged", "shown_good"],
            "open",
        )
        return tuple(shown.tolist())

    def result(self, blocked: bool, row: int = 0) -> Result:
        """What follows for one trial.

        Args:
            blocked: Whether PASS is blocked because a group that must be judged is not.
            row: The trial.
        """
        result = combine([_RESULTS[each] for each in self.status(row) if each in _RESULTS])
        return "INCONCLUSIVE" if blocked and result == "PASS" else result


def judge(counts: Counts, cells: Cells, alpha_good: float, alpha_bad: float) -> Judged:
    """Judge every cell of every trial.

    Args:
        counts: Audit counts.
        cells: The cells.
        alpha_good: Level of each *shown good* test.
        alpha_bad: Level of all *shown bad* tests of a trial together.
    """
    good = np.zeros(counts.lost.shape, dtype=np.bool_)
    bad = np.zeros(counts.lost.shape, dtype=np.bool_)
    tested = np.flatnonzero(cells.testable)
    family = fail_family(cells, alpha_bad)
    good[:, tested] = cells_below(counts, cells, tested, alpha_good)
    bad[:, family.cells] = _decide(
        counts, cells, family.cells, family.level, cells.limit, (shown_above, units_above)
    )
    return Judged(cells, counts, good, bad)


def fail_family(cells: Cells, alpha: float) -> FailFamily:
    """Fix which cells are tested for FAIL, and the level of each test.

    Args:
        cells: The cells; of groups whose clusters are not known none is tested.
        alpha: Level of all tests together.

    Returns:
        The family; the same for every trial on these cells.
    """
    smallest = np.array([_log_smallest_p(cells, i) for i in range(len(cells))], dtype=np.float64)
    for count in range(1, max(len(cells), 1) + 1):
        level = alpha / count
        able = np.flatnonzero(smallest <= np.log(level))
        if len(able) <= count:
            break
    return FailFamily(able.astype(np.int64), level)


def _log_smallest_p(cells: Cells, i: int) -> float:
    n, limit = float(cells.n[i]), float(cells.limit[i])
    if n < 1:
        return np.inf
    if not cells.clustered[i]:
        return n * float(np.log((1 + limit) / 2))
    size = cells.clusters[cells.keys[i].of]
    if size is None:
        return np.inf
    return -log_capital(Units.of(size, size).mirrored(), -limit)


def cells_below(
    counts: Counts,
    cells: Cells,
    chosen: NDArray[np.int64],
    alpha: float,
    limit: NDArray[np.float64] | None = None,
) -> NDArray[np.bool_]:
    """Whether each chosen cell of each trial is shown to be below its limit.

    Args:
        counts: Outcomes.
        cells: The cells.
        chosen: Positions of testable cells.
        alpha: Level of each test.
        limit: Other limits per cell, fractions, shape (cells,).

    Returns:
        Shape (trials, chosen).
    """
    limit = cells.limit if limit is None else limit
    return _decide(counts, cells, chosen, alpha, limit, (shown_below, units_below))


def _decide(
    counts: Counts,
    cells: Cells,
    chosen: NDArray[np.int64],
    alpha: float,
    limit: NDArray[np.float64],
    tests: tuple[Callable[..., NDArray[np.bool_]], Callable[[Units, float, float], bool]],
) -> NDArray[np.bool_]:
    exact, bet = tests
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
            decided[row, column] = bet(counts.units(cell, row), float(limit[cell]), alpha)
    return decided


def cell_intervals(counts: Counts, cells: Cells, alpha: float) -> NDArray[np.float64]:
    """Intervals of the only trial that hold together for all cells (Bonferroni), shape (cells, 2).

    A clustered cell whose clusters are not known has the interval (-1, 1): nothing is shown.
    """
    share = alpha / max(len(cells), 1)
    rows = []
    for i in range(len(cells)):
        if i in counts.clusters:
            rows.append(units_interval(counts.units(i, 0), share))
        elif cells.clustered[i]:
            rows.append((-1.0, 1.0))
        else:
            lost, gained = int(counts.lost[0, i]), int(counts.gained[0, i])
            rows.append(drop_interval(lost, gained, int(cells.n[i]), share))
    return np.array(rows, dtype=np.float64).reshape(len(rows), 2)


def accuracy_lower_bound(correct: int, n: int, alpha: float) -> float:
    """Exact one-sided (Clopper-Pearson) lower bound of an accuracy; samples are independent.

    Examples:
        >>> round(accuracy_lower_bound(95, 100, 0.05), 4)
        0.8977
    """
    from scipy.stats import beta

    return 0.0 if correct == 0 else float(beta.ppf(alpha, correct, n - correct + 1))


def clustered_accuracy_lower_bound(
    size: NDArray[np.float64], correct: NDArray[np.float64], alpha: float
) -> float:
    """One-sided lower bound of an accuracy where only clusters are independent.

    Errors are bet on as losses are (:mod:`.betting`): exact at any number of clusters, whatever
    happens within one.

    Args:
        size: Samples per cluster, shape (clusters,).
        correct: Right answers per cluster, shape (clusters,).
        alpha: Error.
    """
    return 1 - upper_bound(Units.of(size, np.asarray(size) - np.asarray(correct)), alpha)


def cell_lower_bound(
    cells: Cells, counts: Counts, cell: int, alpha: float, row: int | None = None
) -> float | None:
    """Lower bound of an accuracy in one cell.

    Args:
        cells: The cells.
        counts: Outcomes.
        cell: The cell.
        alpha: Error.
        row: The trial; None for the float model.

    Returns:
        The bound; None where samples are clustered and their clusters are not known.
    """
    found = counts.clusters.get(cell)
    if found is not None:
        right = found.right if row is None else found.right - found.net[row]
        return clustered_accuracy_lower_bound(found.size, right, alpha)
    if cells.clustered[cell]:
        return None
    n = int(counts.n[cell])
    correct = round(float(counts.float_accuracy[cell]) * n)
    if row is not None:
        correct -= int(counts.lost[row, cell] - counts.gained[row, cell])
    return accuracy_lower_bound(correct, n, alpha)
