"""The candidate: the one artifact that would ship.

It is chosen on the ``selection`` split and judged on the ``audit`` split, so choosing the luckiest
draw costs nothing. The displayed intervals hold together for all cells.

Its drop under another mix of classes reweights the strata that were audited. If production holds
class ``c`` with share ``target[c]`` and the audit holds it ``n_c`` times, the drop there is ``sum
target[c] * drop_c``: only the mix of classes is assumed to change, not what is hard within a class
(label shift). A sample of class ``c`` weighs ``target[c] * n / n_c``; weighted samples are the
units of :mod:`.betting`, whose bounds hold for them without a normal approximation. Rare audited
classes with a large share get large weights, and the interval says what that costs. See Cochran
(1977), *Sampling Techniques*, chapter 5, for stratified means, and Lipton, Wang and Smola (2018),
"Detecting and correcting for label shift with black box predictors", ICML.
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
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import CellDocument
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.judging import (
    Judged,
    Status,
    cell_intervals,
    cell_lower_bound,
    judge,
)
from ptq_pipeline.judgement.policy import Policy, class_shares
from ptq_pipeline.judgement.sentences import Reason, Result, place_value, say
from ptq_pipeline.statistics.betting import Units, units_interval

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
    """The candidate's part of the verdict."""

    added: ClassVar[frozenset[str]] = frozenset({"chosen_on", "selection_score"})

    result: Result
    trial_id: str | None
    set_id: str | None
    chosen_on: str | None = "selection"
    selection_score: float | None = None
    cells: tuple[JudgedCell, ...]


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

    Ties go to the smaller trial id. At least one trial is there to choose.
    """
    used = cells.judged & (selection.n > 0)
    if not used.any():
        return Choice(min(selection.trial_ids))
    worst = (selection.drop[:, used] / cells.limit[used]).max(axis=1)
    score, trial_id = min(zip(worst.tolist(), selection.trial_ids, strict=True))
    return Choice(trial_id, score)


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


class ReweightedDrop(Document):
    """Drop under a target mix of classes, fractions, with a two-sided interval.

    ``largest_weight`` is that of the heaviest sample; 1 where the mix is that of the audit.
    """

    name: str = ""
    shift: str = CLEAN
    drop: float
    interval: Interval
    largest_weight: float


def reweighted_drop(
    lost: NDArray[np.int64],
    gained: NDArray[np.int64],
    n: NDArray[np.int64],
    target: NDArray[np.float64],
    alpha: float,
) -> ReweightedDrop:
    """Drop under a target mix of classes: counts and shares per class, shape (classes,).

    Raises:
        InputError: If a class with a share has no sample.
    """
    used = np.flatnonzero(target > 0)
    if np.any(n[used] < 1):
        empty = int(used[np.argmin(n[used])])
        raise InputError(f"class_priors: class number {empty} has a share but no audit sample.")
    total = n[used].sum()
    weight = target[used] * total / n[used]
    size = np.repeat(weight, 3)
    counts = np.stack([lost[used], gained[used], n[used] - lost[used] - gained[used]], axis=1)
    net = size * np.tile([1.0, -1.0, 0.0], used.size)
    units = Units(size, net, counts.astype(np.float64).ravel())
    drop = float((target[used] * (lost[used] - gained[used]) / n[used]).sum())
    return ReweightedDrop(
        drop=drop, interval=units_interval(units, alpha), largest_weight=float(weight.max())
    )


def reweighted_drops(candidate: Candidate) -> tuple[ReweightedDrop, ...]:
    """The candidate under every other mix of classes; all intervals hold together."""
    cells, counts, policy = candidate.judged.cells, candidate.judged.counts, candidate.policy
    mixes = policy.class_priors
    found = []
    for name, mix in mixes.items():
        for shift in cells.shifts:
            here = np.flatnonzero((cells.levels == "class") & (cells.shift_of == shift))
            groups = [cells.keys[i].group for i in here]
            drop = reweighted_drop(
                counts.lost[0, here],
                counts.gained[0, here],
                cells.n[here],
                class_shares({group: mix[group] for group in groups if group in mix}, groups),
                policy.alpha / (len(mixes) * len(cells.shifts)),
            )
            found.append(drop.model_copy(update={"name": name, "shift": shift}))
    return tuple(found)
