"""The candidate: the one artifact that would ship.

It is chosen on the ``selection`` split and judged on the ``audit`` split, so choosing the luckiest
draw costs nothing. The displayed intervals hold together for all cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ptq_pipeline.core.documents import Count, Document, Drop, Interval, Share
from ptq_pipeline.core.group_ids import CellDocument
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.judging import (
    Judged,
    Status,
    cell_intervals,
    cell_lower_bound,
    judge,
)
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.sentences import Reason, Result, place_value, say
from ptq_pipeline.judgement.worst_bound import WorstGroup, worst_groups

Cell = TypeVar("Cell", bound="MeasuredCell")
# What accuses most comes first: a proof weighs more than points.
EVIDENCE: tuple[Status, ...] = ("shown_bad", "open", "shown_good", "not_judged")
# What is said of a cell that is shown bad, and of an open one.
SAID = {
    "candidate": ("candidate.shown_bad", "candidate.open"),
    "champion": ("champion.shown_bad", "champion.open"),
}


class MeasuredCell(CellDocument):
    """What one model loses against another in one cell, and what is shown of it, in fractions.

    Attributes:
        n: Audit samples.
        float_accuracy: Of the model it is held against.
        quantized_accuracy: Of the candidate.
        interval: Bounds of the drop that hold for all cells together.
        lost: Answers that were right and are wrong; ``gained`` is the reverse.
        flips: Answers that differ.
        limit: What the drop is held against.
        judged: Whether the cell could be shown good, or is shown bad.
    """

    n: Count
    float_accuracy: Share
    quantized_accuracy: Share
    drop: Drop
    interval: Interval | None
    lost: Count
    gained: Count
    flips: Count
    limit: float | None
    judged: bool
    status: Status

    @property
    def ranking_drop(self) -> float:
        """The drop to rank by."""
        return self.drop

    @property
    def limit_use(self) -> float:
        """The drop to rank by over the limit: 1 is at the limit; -inf where there is none."""
        return self.ranking_drop / self.limit if self.limit else -math.inf

    @property
    def rank(self) -> tuple[int, float]:
        """Sorts by evidence: shown bad, open, shown good, not judged; within, the worst first."""
        return EVIDENCE.index(self.status), -self.limit_use

    def reason(self, what: str, **said: Any) -> Reason:
        """Say that it is shown bad, or open; ``said`` are further values of the sentence."""
        bad, drop, limit, n = self.status == "shown_bad", self.drop, self.limit, self.n
        name = SAID[what][0 if bad else 1]
        sentence = say(name, **said, cell=place_value(self.key), limit=limit, drop=drop, n=n)
        figures = {"observed": drop, "interval": self.interval, "limit": limit, "n": n}
        rule = f"{what}.shown_bad" if bad else f"{what}.limit"
        return Reason.of(rule, "candidate", sentence, self.key, **figures)


class JudgedCell(MeasuredCell):
    """The candidate's cell in ``verdict.json``.

    ``accuracy_lower`` is a one-sided lower bound of its accuracy; None where samples are clustered
    and their clusters are not known.
    """

    added: ClassVar[frozenset[str]] = frozenset({"accuracy_lower"})

    accuracy_lower: Share | None = None
    critical: bool


class ComparedCell(MeasuredCell):
    """The candidate's cell beside the champion's, in ``champion_comparison.json``."""

    float_accuracy: Share = Field(alias="champion_accuracy")
    quantized_accuracy: Share = Field(alias="candidate_accuracy")
    drop: Drop = Field(alias="loss")
    limit: float = Field(alias="tolerance")


class CandidateVerdict(Document):
    """The candidate's part of the verdict.

    ``worst_groups`` bounds the worst judged group, over all shifts and then under each.
    """

    added: ClassVar[frozenset[str]] = frozenset({"chosen_on", "selection_score", "worst_groups"})

    result: Result
    trial_id: str | None
    set_id: str | None
    chosen_on: str | None = "selection"
    selection_score: float | None = None
    cells: tuple[JudgedCell, ...]
    worst_groups: tuple[WorstGroup, ...] = ()


@dataclass(frozen=True)
class Choice:
    """The chosen trial.

    ``score`` is its largest ratio of drop to limit over the judged cells on ``selection``; None
    when no judged cell has a sample there. ``on`` is the split that chose it, None where somebody
    named it.
    """

    trial_id: str
    score: float | None = None
    on: str | None = "selection"


def choose_candidate(selection: Counts, cells: Cells) -> Choice:
    """Choose the trial whose worst judged cell uses the least of its limit on ``selection``.

    Of equal ones the trial that uses less of its limits on average is chosen, and then the earlier
    draw: nothing that depends on the machine. ``selection`` holds at least one trial, in drawing
    order.
    """
    used = cells.judged & (selection.n > 0)
    if not used.any():
        return Choice(selection.trial_ids[0])
    ratio = selection.drop[:, used] / cells.limit[used]
    # Draws that differ in the last digit of a processor are equal.
    worst, mean = (np.round(each, 12).tolist() for each in (ratio.max(axis=1), ratio.mean(axis=1)))
    best = min(range(len(worst)), key=lambda row: (worst[row], mean[row], row))
    return Choice(selection.trial_ids[best], worst[best])


@dataclass(frozen=True)
class Candidate:
    """The one model that would ship, with all that the audit says about it.

    ``intervals`` bound its drops for all displayed cells together, fractions, shape (cells, 2);
    ``policy`` is at the level that it may spend.
    """

    choice: Choice
    judged: Judged
    policy: Policy
    result: Result
    intervals: NDArray[np.float64]

    @cached_property
    def status(self) -> tuple[Status, ...]:
        """What is shown of every cell."""
        return self.judged.status()

    @property
    def drop(self) -> NDArray[np.float64]:
        """Its drops, fractions, shape (cells,)."""
        return self.judged.counts.drop[0]

    @property
    def spoken_of(self) -> NDArray[np.bool_]:
        """Cells that could be shown good, or are shown bad, shape (cells,)."""
        return np.array([each != "not_judged" for each in self.status], dtype=np.bool_)

    def interval(self, cell: int) -> Interval:
        """Bounds of one cell's drop."""
        return float(self.intervals[cell, 0]), float(self.intervals[cell, 1])

    def cell(self, kind: type[Cell], i: int, **more: Any) -> Cell:
        """One of its cells as a document of some kind; ``more`` are the kind's own keys."""
        cells, counts, status = self.judged.cells, self.judged.counts, self.status[i]
        drop, accuracy = float(self.drop[i]), float(counts.float_accuracy[i])
        return kind(
            **cells.keys[i]._asdict(),
            n=int(cells.n[i]),
            float_accuracy=accuracy,
            quantized_accuracy=accuracy - drop,
            drop=drop,
            interval=self.interval(i),
            lost=int(counts.lost[0, i]),
            gained=int(counts.gained[0, i]),
            flips=int(counts.flips[0, i]),
            limit=float(cells.limit[i]),
            judged=status != "not_judged",
            status=status,
            **more,
        )

    def document(self, set_id: str) -> CandidateVerdict:
        """Its part of the verdict; without ``set_id`` there are no draws, so none was chosen."""
        cells, counts, alpha = self.judged.cells, self.judged.counts, self.policy.alpha
        return CandidateVerdict(
            result=self.result,
            trial_id=self.choice.trial_id,
            set_id=set_id or None,
            chosen_on=self.choice.on if set_id else None,
            selection_score=self.choice.score,
            cells=tuple(
                self.cell(
                    JudgedCell,
                    i,
                    accuracy_lower=cell_lower_bound(cells, counts, i, alpha, row=0),
                    critical=bool(cells.critical[i]),
                )
                for i in range(len(cells))
            ),
            worst_groups=worst_groups(cells, counts, alpha),
        )


def judge_candidate(
    audit: Counts, cells: Cells, choice: Choice, policy: Policy, blocked: bool
) -> Candidate:
    """Judge the chosen trial on the audit.

    ``blocked`` says that PASS is blocked because a group that must be judged is not.
    """
    own = audit.only([choice.trial_id])
    judged = judge(own, cells, policy.alpha, policy.alpha_fail)
    intervals = cell_intervals(own, cells, policy.alpha)
    return Candidate(choice, judged, policy, judged.result(blocked), intervals)
