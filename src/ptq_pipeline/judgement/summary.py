"""Where it hurts: the worst cells, and the spread of drops over the draws."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from ptq_pipeline.core.documents import Count, Deviation, Drop, Interval, Share
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import (
    LEVELS,
    NAMED_LEVELS,
    CellDocument,
    CellKey,
    GroupKey,
)
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.judgement.candidate import EVIDENCE, Candidate, MeasuredCell
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.statistics.betting import Units, units_interval
from ptq_pipeline.statistics.crossed import components_of_sums

WORST_LEVELS = LEVELS[1:]


class CellSummary(CellDocument):
    """One cell over all draws and in the candidate; drops and bounds are fractions.

    ``interval`` bounds the candidate's drop, together with those of all other cells, so it holds
    also for a cell that was picked because it is the worst. ``mean_interval`` does so for the mean
    over these draws, on endlessly many images; None where answers are not at hand.
    """

    added: ClassVar[frozenset[str]] = frozenset({"candidate_drop", "interval", "mean_interval"})

    drop_mean_over_draws: Drop
    drop_worst_draw: Drop
    candidate_drop: float | None = None
    interval: Interval | None = None
    mean_interval: Interval | None = None
    limit: float
    n: Count

    @property
    def own_drop(self) -> float:
        """The candidate's drop; the mean over the draws in verdicts that do not hold it."""
        return self.drop_mean_over_draws if self.candidate_drop is None else self.candidate_drop


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
    outcomes: Outcomes | None = None

    @property
    def cells(self) -> Cells:
        """The cells."""
        return self.candidate.judged.cells

    def worst(self, level: str) -> CellSummary | None:
        """First judged cell of a level by evidence; None if none is judged."""
        return next((self._cell(i) for i in self.by_evidence if self._named(i, (level,))), None)

    def overall_worst(self) -> CellSummary | None:
        """First judged class, segment or intersection by evidence."""
        return next((self._cell(i) for i in self.by_evidence if self._named(i, WORST_LEVELS)), None)

    def average(self, shift: str = CLEAN) -> CellSummary | None:
        """The average under a shift, or under the first one where there is none of it."""
        rows = np.flatnonzero(self.cells.levels == "average").tolist()
        rows.sort(key=lambda i: self.cells.keys[i].shift != shift)
        return self._cell(rows[0]) if rows else None

    @cached_property
    def by_evidence(self) -> list[int]:
        """The cells: shown bad, open, shown good; within, by mean drop over the limit."""
        use = self.audit.drop.mean(axis=0) / self.cells.limit
        return sorted(
            range(len(self.cells)),
            key=lambda i: (EVIDENCE.index(self.candidate.status[i]), -use[i]),
        )

    def _named(self, cell: int, levels: Sequence[str]) -> bool:
        return bool(self.candidate.spoken_of[cell]) and self.cells.keys[cell].level in levels

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
        """The candidate's cells beside the drops over all draws, the worst by evidence first."""
        rows = [dict(self.candidate.cell(MeasuredCell, i)) for i in range(len(self.cells))]
        table = pd.DataFrame(rows, columns=list(MeasuredCell.model_fields))
        table["critical"] = self.cells.critical
        table["interval_low"], table["interval_high"] = self.candidate.intervals.T
        table["drop_mean"] = self.audit.drop.mean(axis=0)
        table["drop_min"] = self.audit.drop.min(axis=0)
        table["drop_max"] = self.audit.drop.max(axis=0)
        table["draws"] = len(self.audit.trial_ids)
        return table.iloc[self.by_evidence].reset_index(drop=True)[list(TABLE_COLUMNS)]

    def _cell(self, i: int) -> CellSummary:
        drop = self.audit.drop[:, i]
        return CellSummary(
            **self.cells.keys[i]._asdict(),
            drop_mean_over_draws=float(drop.mean()),
            drop_worst_draw=float(drop.max()),
            candidate_drop=float(self.candidate.drop[i]),
            interval=self.candidate.interval(i),
            mean_interval=self._mean_interval(self.cells.keys[i]),
            limit=float(self.cells.limit[i]),
            n=int(self.cells.n[i]),
        )

    def _mean_interval(self, key: CellKey) -> Interval | None:
        """Bounds of the mean drop over the draws; images, or their clusters, are the units."""
        if self.outcomes is None:
            return None
        groups, shift = self.outcomes.groups, key.shift
        if shift in groups.conditions:
            groups, shift = groups.under(shift), CLEAN
        if shift not in self.outcomes.shifts:
            return None
        inside = np.zeros(len(groups.split), dtype=np.bool_)
        for each in groups.partitions:
            if key.level == each.level and key.group in each.groups:
                inside |= each.codes == each.groups.index(key.group)
        inside &= groups.split == "audit"
        trials = self.audit.trial_ids
        net = self.outcomes.losses(trials, shift).sum(axis=0)[inside] / len(trials)
        own = np.unique(groups.clusters[inside], return_inverse=True)[1]
        lost, size = (np.bincount(own, each).astype(float) for each in (net, np.ones(len(own))))
        alpha = self.candidate.policy.alpha / len(self.cells)
        low, high = units_interval(Units.of(size, np.round(lost, 12)), alpha)
        return round(float(low), 9), round(float(high), 9)


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


def _sums(losses: sparse.csc_array, code: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """Sums of losses, shape (trials, samples), by group: see :func:`.components_of_sums`.

    ``code`` is the group of each sample, -1 for none, shape (samples,). Each has a row a group.
    """
    inside = np.flatnonzero(code >= 0)
    shape = int(code.max(initial=-1)) + 1, len(code)
    members = sparse.csr_array((np.ones(len(inside)), (code[inside], inside)), shape=shape)
    of_draws = (losses @ members.T).T.toarray()
    return of_draws, members @ losses.sum(axis=0) ** 2, members @ (losses**2).sum(axis=0)


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
        losses = outcomes.losses(trial_ids, shift)[:, np.flatnonzero(audit)]
        for partition in shown:
            sizes, sums = partition.count(audit), _sums(losses, partition.codes[audit])
            for code, group in enumerate(partition.groups):
                if sizes[code] < 2 or (only and (partition.level, group) not in only):
                    continue
                part = components_of_sums(*(each[code] for each in sums), images=int(sizes[code]))
                found.append(
                    GroupComponents(
                        level=partition.level,
                        group=group,
                        shift=shift,
                        n=part.images,
                        draws=part.draws,
                        # What lies beyond depends on the processor.
                        sd_between_draws=round(part.drop_sd_between_draws, 9),
                        sd_between_image_sets=round(part.drop_sd_between_image_sets, 9),
                        draw_share=round(part.draw_share, 9),
                    )
                )
    return tuple(found)
