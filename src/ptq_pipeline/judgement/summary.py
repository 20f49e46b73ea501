"""Where it hurts: the worst cells and the spread of drops over the draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ptq_pipeline.core.documents import CellDocument, Count, Drop, Interval
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import CLEAN, LEVELS, NAMED_LEVELS
from ptq_pipeline.judgement.candidate import Candidate, MeasuredCell
from ptq_pipeline.judgement.cells import Cells, Counts

WORST_LEVELS = LEVELS[1:]


class CellSummary(CellDocument):
    """One cell over all draws and in the candidate; drops and bounds are fractions.

    ``interval`` bounds the candidate's drop, together with those of all other cells, so it holds
    also for a cell that was picked because it is the worst.
    """

    added: ClassVar[frozenset[str]] = frozenset({"candidate_drop", "interval"})

    drop_mean_over_draws: Drop
    drop_worst_draw: Drop
    candidate_drop: float | None = None
    interval: Interval | None = None
    limit: float
    n: Count


class DrawSpread(CellDocument):
    """Drops of one cell over the draws, fractions."""

    n: Count
    drop_mean: Drop
    drop_min: Drop
    drop_max: Drop
    draws: Count


class WorstDraw(CellDocument):
    """A draw by the judged cell that uses most of its limit in it, fractions."""

    draw: int
    trial_id: str
    drop: float
    limit: float
    n: int


class SpreadCell(MeasuredCell):
    """One row of ``worst_case_table``: the candidate's cell beside the drops over all draws.

    ``drop`` and ``interval`` belong to the candidate, the other drops to the draws; fractions.
    """

    critical: bool
    drop_mean: Drop
    drop_min: Drop
    drop_max: Drop
    draws: Count

    @property
    def ranking_drop(self) -> float:
        """The drop to rank by: the mean over draws."""
        return self.drop_mean

    @classmethod
    def of_table(cls, table: pd.DataFrame) -> list[Self]:
        """Read the table, one cell per row, in its order.

        Raises:
            InputError: If a column is missing.
        """
        if missing := set(TABLE_COLUMNS) - set(table.columns):
            raise InputError(
                f"worst_case_table has no column {', '.join(sorted(missing))}; run the pipeline "
                "worst_case_check again."
            )
        ends = ["interval_low", "interval_high"]
        intervals = table[ends].itertuples(index=False, name=None)
        rows = table[list(TABLE_COLUMNS)].drop(columns=ends).to_dict("records")
        return [
            cls.model_validate({**row, "interval": interval})
            for row, interval in zip(rows, intervals, strict=True)
        ]


@dataclass(frozen=True)
class DrawSummary:
    """Summaries of the finished evidence draws on the audit.

    Attributes:
        audit: Audit counts of the draws.
        candidate: The candidate.
    """

    audit: Counts
    candidate: Candidate

    @property
    def cells(self) -> Cells:
        """The cells."""
        return self.candidate.judged.cells

    def worst(self, level: str) -> CellSummary | None:
        """Judged cell of a level with the largest mean drop; None if none is judged."""
        found = np.flatnonzero(self.candidate.spoken_of & (self.cells.levels == level))
        if found.size == 0:
            return None
        return self._cell(int(found[np.argmax(self.audit.drop[:, found].mean(axis=0))]))

    def overall_worst(self) -> CellSummary | None:
        """Worst judged class, segment or intersection, in points (not relative to its limit)."""
        found = [cell for level in WORST_LEVELS if (cell := self.worst(level)) is not None]
        return max(found, key=lambda cell: cell.drop_mean_over_draws, default=None)

    def average(self) -> CellSummary | None:
        """The average on clean images, or under the first shift where there are none."""
        rows = [i for i, key in enumerate(self.cells.keys) if key.level == "average"]
        clean = [i for i in rows if self.cells.keys[i].shift == CLEAN]
        return self._cell((clean or rows)[0]) if rows else None

    def spread(self) -> tuple[DrawSpread, ...]:
        """Spread over draws of every class and segment."""
        return tuple(
            DrawSpread(
                **key._asdict(),
                n=int(self.cells.n[i]),
                drop_mean=float(self.audit.drop[:, i].mean()),
                drop_min=float(self.audit.drop[:, i].min()),
                drop_max=float(self.audit.drop[:, i].max()),
                draws=len(self.audit.trial_ids),
            )
            for i, key in enumerate(self.cells.keys)
            if key.level in NAMED_LEVELS
        )

    def table(self) -> pd.DataFrame:
        """The candidate's cells beside the drops over all draws, worst mean drop first."""
        table = pd.DataFrame(self.candidate.measured())
        if table.empty:
            return pd.DataFrame(columns=list(TABLE_COLUMNS))
        table["critical"] = self.cells.critical
        table["interval_low"], table["interval_high"] = self.candidate.intervals.T
        table["drop_mean"] = self.audit.drop.mean(axis=0)
        table["drop_min"] = self.audit.drop.min(axis=0)
        table["drop_max"] = self.audit.drop.max(axis=0)
        table["draws"] = len(self.audit.trial_ids)
        table = table.sort_values("drop_mean", ascending=False, kind="stable", ignore_index=True)
        return table[list(TABLE_COLUMNS)]

    def _cell(self, i: int) -> CellSummary:
        drop = self.audit.drop[:, i]
        return CellSummary(
            **self.cells.keys[i]._asdict(),
            drop_mean_over_draws=float(drop.mean()),
            drop_worst_draw=float(drop.max()),
            candidate_drop=float(self.candidate.drop[i]),
            interval=self.candidate.interval(i),
            limit=float(self.cells.limit[i]),
            n=int(self.cells.n[i]),
        )


TABLE_COLUMNS = (
    *("level", "group", "shift", "n", "limit", "judged", "critical", "status"),
    *("float_accuracy", "quantized_accuracy", "drop", "interval_low", "interval_high"),
    *("lost", "gained", "flips", "drop_mean", "drop_min", "drop_max", "draws"),
)


def worst_draws(
    cells: Cells, audit: Counts, table: pd.DataFrame, most: int = 5
) -> tuple[WorstDraw, ...]:
    """Draws whose worst judged cell uses most of its limit.

    Args:
        cells: The cells.
        audit: Audit counts of the finished draws.
        table: ``draw`` and ``trial_id`` of the draws.
        most: How many to list.
    """
    judged = np.flatnonzero(cells.judged)
    if judged.size == 0 or not audit.trial_ids:
        return ()
    ratio = audit.drop[:, judged] / cells.limit[judged]
    order = np.argsort(-ratio.max(axis=1), kind="stable")[:most]
    draw = table.set_index("trial_id")["draw"]
    worst = judged[ratio[order].argmax(axis=1)]
    return tuple(
        WorstDraw(
            **cells.keys[cell]._asdict(),
            draw=int(draw[audit.trial_ids[row]]),
            trial_id=audit.trial_ids[row],
            drop=float(audit.drop[row, cell]),
            limit=float(cells.limit[cell]),
            n=int(cells.n[cell]),
        )
        for row, cell in zip(order, worst, strict=True)
    )
