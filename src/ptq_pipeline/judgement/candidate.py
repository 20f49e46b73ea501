"""The candidate: the one artifact that would ship.

It is chosen on the ``selection`` split and judged on the ``audit`` split, so choosing the luckiest
draw costs nothing. The displayed intervals hold together for all cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ptq_pipeline.core.documents import CellDocument, Count, Drop, Interval, Share
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.judging import (
    Judged,
    Status,
    cell_intervals,
    cell_lower_bound,
    judge,
)
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.reasons import Result


class MeasuredCell(CellDocument):
    """What one model loses against another in one cell, and what is shown of it.

    Accuracies, drops and limits are fractions.

    Attributes:
        n: Audit samples.
        float_accuracy: Of the model it is held against.
        quantized_accuracy: Of the candidate.
        drop: What the candidate loses.
        interval: Bounds of the drop that hold for all cells together.
        lost: Answers that were right and are wrong.
        gained: The reverse.
        flips: Answers that differ.
        limit: What the drop is held against.
        judged: Whether the cell could be shown good, or is shown bad.
        status: What is shown.
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
    def over_limit(self) -> bool:
        """Whether the drop to rank by lies over the limit of a judged group."""
        return self.judged and self.limit is not None and self.ranking_drop > self.limit


class JudgedCell(MeasuredCell):
    """The candidate's cell in ``verdict.json``.

    Attributes:
        accuracy_lower: One-sided lower bound of the candidate's accuracy; None where samples are
            clustered and their clusters are not known.
        critical: Whether policy names the group critical.
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


@dataclass(frozen=True)
class Choice:
    """The chosen trial.

    Attributes:
        trial_id: The trial.
        score: Its largest ratio of drop to limit over the judged cells on ``selection``; NaN when
            no judged cell has a sample there.
    """

    trial_id: str
    score: float


def choose_candidate(selection: Counts, cells: Cells) -> Choice:
    """Choose the trial whose worst judged cell uses the least of its limit on ``selection``.

    Args:
        selection: Selection counts of the finished evidence trials, at least one.
        cells: The cells.

    Returns:
        The choice; ties go to the smaller trial id.
    """
    used = cells.judged & (selection.n > 0)
    if not used.any():
        return Choice(min(selection.trial_ids), float("nan"))
    worst = (selection.drop[:, used] / cells.limit[used]).max(axis=1)
    best = min(range(len(worst)), key=lambda i: (worst[i], selection.trial_ids[i]))
    return Choice(selection.trial_ids[best], float(worst[best]))


@dataclass(frozen=True)
class Candidate:
    """The one model that would ship, with all that the audit says about it.

    Attributes:
        choice: How it was chosen.
        judged: What is shown of its cells.
        result: PASS, FAIL or INCONCLUSIVE.
        intervals: Bounds of its drops that hold for all displayed cells together, fractions, shape
            (cells, 2).
    """

    choice: Choice
    judged: Judged
    result: Result
    intervals: NDArray[np.float64]

    @property
    def trial_id(self) -> str:
        """The trial."""
        return self.choice.trial_id

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

    def measured(self) -> list[dict[str, object]]:
        """What is said of every cell, by the names of :class:`MeasuredCell`."""
        cells, counts = self.judged.cells, self.judged.counts
        drops, accuracies = self.drop.tolist(), counts.float_accuracy.tolist()
        return [
            {
                **cells.keys[i]._asdict(),
                "n": int(cells.n[i]),
                "float_accuracy": accuracies[i],
                "quantized_accuracy": accuracies[i] - drops[i],
                "drop": drops[i],
                "interval": self.interval(i),
                "lost": int(counts.lost[0, i]),
                "gained": int(counts.gained[0, i]),
                "flips": int(counts.flips[0, i]),
                "limit": float(cells.limit[i]),
                "judged": status != "not_judged",
                "status": status,
            }
            for i, status in enumerate(self.status)
        ]

    def cells(self, alpha: float) -> tuple[JudgedCell, ...]:
        """The cells as the verdict holds them.

        Args:
            alpha: Error of the lower bound of each accuracy.
        """
        cells, counts = self.judged.cells, self.judged.counts
        return tuple(
            JudgedCell.model_validate(
                {
                    **measured,
                    "accuracy_lower": cell_lower_bound(cells, counts, i, alpha, row=0),
                    "critical": bool(cells.critical[i]),
                }
            )
            for i, measured in enumerate(self.measured())
        )


def judge_candidate(
    audit: Counts, cells: Cells, choice: Choice, policy: Policy, blocked: bool
) -> Candidate:
    """Judge the chosen trial on the audit.

    Args:
        audit: Audit counts that contain the trial.
        cells: The cells.
        choice: The chosen trial.
        policy: Errors.
        blocked: Whether PASS is blocked because a group that must be judged is not.
    """
    own = audit.only([choice.trial_id])
    judged = judge(own, cells, policy.alpha, policy.alpha_fail)
    intervals = cell_intervals(own, cells, policy.alpha)
    return Candidate(choice, judged, judged.result(blocked), intervals)
