"""Where it hurts: the worst cells and the spread of drops over the draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.reliability.candidate import Candidate
from ptq_pipeline.reliability.cells import Cells, Counts

WORST_LEVELS = ("class", "segment", "intersection")
CLEAN = "clean"


@dataclass(frozen=True)
class CellSummary:
    """One cell over all draws and in the candidate; drops and bounds are fractions.

    ``interval`` bounds the candidate's drop, together with those of all other cells, so it holds
    also for a cell that was picked because it is the worst.
    """

    level: str
    group: str
    shift: str
    drop_mean_over_draws: float
    drop_worst_draw: float
    candidate_drop: float
    interval: tuple[float, float]
    limit: float
    n: int


@dataclass(frozen=True)
class DrawSpread:
    """Drops of one cell over the draws, fractions."""

    level: str
    group: str
    shift: str
    n: int
    drop_mean: float
    drop_min: float
    drop_max: float
    draws: int


@dataclass(frozen=True)
class DrawSummary:
    """Summaries of the finished evidence draws on the audit.

    Attributes:
        cells: The cells.
        drop: Drops, shape (draws, cells).
        candidate: The candidate.
    """

    cells: Cells
    drop: NDArray[np.float64]
    candidate: Candidate

    def worst(self, level: str) -> CellSummary | None:
        """Judged cell of a level with the largest mean drop; None if none is judged."""
        mask = self.candidate.outcome.judged & (np.asarray(self.cells.level, dtype=object) == level)
        candidates = np.flatnonzero(mask)
        if candidates.size == 0:
            return None
        return self._cell(int(candidates[np.argmax(self.drop[:, candidates].mean(axis=0))]))

    def overall_worst(self) -> CellSummary | None:
        """Worst judged class, segment or intersection, in points (not relative to its limit)."""
        found = [cell for level in WORST_LEVELS if (cell := self.worst(level)) is not None]
        return max(found, key=lambda cell: cell.drop_mean_over_draws, default=None)

    def average(self) -> CellSummary | None:
        """The average on clean images, or under the first shift where there are none."""
        rows = [i for i, level in enumerate(self.cells.level) if level == "average"]
        clean = [i for i in rows if self.cells.shift[i] == CLEAN]
        return self._cell((clean or rows)[0]) if rows else None

    def spread(self) -> tuple[DrawSpread, ...]:
        """Spread over draws of every class and segment."""
        cells = self.cells
        return tuple(
            DrawSpread(
                level=cells.level[i],
                group=cells.group[i],
                shift=cells.shift[i],
                n=int(cells.n[i]),
                drop_mean=float(self.drop[:, i].mean()),
                drop_min=float(self.drop[:, i].min()),
                drop_max=float(self.drop[:, i].max()),
                draws=len(self.drop),
            )
            for i in range(len(cells))
            if cells.level[i] in ("class", "segment")
        )

    def _cell(self, i: int) -> CellSummary:
        return CellSummary(
            level=self.cells.level[i],
            group=self.cells.group[i],
            shift=self.cells.shift[i],
            drop_mean_over_draws=float(self.drop[:, i].mean()),
            drop_worst_draw=float(self.drop[:, i].max()),
            candidate_drop=float(self.drop[self.candidate.row, i]),
            interval=self.candidate.interval(i),
            limit=float(self.cells.limit[i]),
            n=int(self.cells.n[i]),
        )


def worst_draws(
    cells: Cells, audit: Counts, table: pd.DataFrame, most: int = 5
) -> list[dict[str, object]]:
    """Draws whose worst judged cell uses most of its limit.

    Args:
        cells: The cells.
        audit: Audit counts of the finished draws.
        table: ``draw`` and ``trial_id`` of the draws.
        most: How many to list.

    Returns:
        Plain records with ``draw``, ``trial_id``, the cell, ``drop``, ``limit`` and ``n``.
    """
    judged = np.flatnonzero(cells.judged)
    if judged.size == 0 or not audit.trial_ids:
        return []
    ratio = audit.drop[:, judged] / cells.limit[judged]
    order = np.argsort(-ratio.max(axis=1), kind="stable")[:most]
    draw = table.set_index("trial_id")["draw"]
    records: list[dict[str, object]] = []
    for row in order:
        cell = int(judged[np.argmax(ratio[row])])
        records.append(
            {
                "draw": int(draw[audit.trial_ids[row]]),
                "trial_id": audit.trial_ids[row],
                "level": cells.level[cell],
                "group": cells.group[cell],
                "shift": cells.shift[cell],
                "drop": float(audit.drop[row, cell]),
                "limit": float(cells.limit[cell]),
                "n": int(cells.n[cell]),
            }
        )
    return records
