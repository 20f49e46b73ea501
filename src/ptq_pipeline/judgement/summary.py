"""Where it hurts: the worst cells, the spread of drops over the draws, and what it is due to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ptq_pipeline.core.documents import CellDocument, Count, Deviation, Drop, Interval, Share
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import LEVELS, NAMED_LEVELS, GroupKey
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.judgement.candidate import Candidate, MeasuredCell
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.statistics.crossed import components

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


TABLE_COLUMNS = (
    *("level", "group", "shift", "n", "limit", "judged", "critical", "status"),
    *("float_accuracy", "quantized_accuracy", "drop", "interval_low", "interval_high"),
    *("lost", "gained", "flips", "drop_mean", "drop_min", "drop_max", "draws"),
)


@dataclass(frozen=True)
class DrawSummary:
    """Summaries of the finished evidence draws on the audit, and of the candidate in them."""

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
        rows = np.flatnonzero(self.cells.levels == "average").tolist()
        rows.sort(key=lambda i: self.cells.keys[i].shift != CLEAN)
        return self._cell(rows[0]) if rows else None

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
        rows = [dict(self.candidate.cell(MeasuredCell, i)) for i in range(len(self.cells))]
        table = pd.DataFrame(rows, columns=list(MeasuredCell.model_fields))
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


class GroupComponents(CellDocument):
    """The spread of one group's drop under one shift, standard deviations as fractions.

    Attributes:
        sd_between_draws: Of the drop between draws, on endlessly many images.
        sd_between_image_sets: Of one draw's drop between sets of n images.
        draw_share: Share of one observed drop's variance that is due to the draw.
    """

    n: Count
    draws: Count
    sd_between_draws: Deviation
    sd_between_image_sets: Deviation
    draw_share: Share


def group_components(
    outcomes: Outcomes, trial_ids: Sequence[str], only: Collection[GroupKey] = ()
) -> tuple[GroupComponents, ...]:
    """Separate draws from images for the average and every class and segment, on the audit.

    Images of one cluster count as independent here, so with clusters `sd_between_image_sets` is
    understated.

    Args:
        outcomes: Answers on the evaluated samples.
        trial_ids: The recipe's finished draws; with fewer than two nothing is separated.
        only: Pairs of level and group; all of them when empty.
    """
    audit = outcomes.groups.split == "audit"
    if len(trial_ids) < 2 or not audit.any():
        return ()
    shown = [each for each in outcomes.groups.partitions if each.level != "intersection"]
    found = []
    for shift in outcomes.shifts:
        losses = outcomes.losses(trial_ids, shift, audit)
        for partition in shown:
            for code, group in enumerate(partition.groups):
                members = np.flatnonzero(partition.codes[audit] == code)
                if len(members) < 2 or (only and (partition.level, group) not in only):
                    continue
                part = components(losses[:, members])
                found.append(
                    GroupComponents(
                        level=partition.level,
                        group=group,
                        shift=shift,
                        n=part.images,
                        draws=part.draws,
                        sd_between_draws=part.drop_sd_between_draws,
                        sd_between_image_sets=part.drop_sd_between_image_sets,
                        draw_share=part.draw_share,
                    )
                )
    return tuple(found)
