"""The candidate: the one artifact that would ship.

It is chosen on the ``selection`` split and judged on the ``audit`` split, so choosing the luckiest
draw costs nothing. PASS needs every judged cell to be shown below its limit at level ``alpha``: an
intersection-union test, which needs no correction. FAIL needs one cell, judged or not, shown above
its limit at a level that is corrected for looking at all of them (:mod:`.fail_family`). The
displayed intervals hold together for all cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ptq_pipeline.reliability.cells import Cells, Counts
from ptq_pipeline.reliability.fail_family import fail_family
from ptq_pipeline.reliability.outcome_tests import cell_intervals, cells_above, cells_below
from ptq_pipeline.reliability.policy import Policy
from ptq_pipeline.reliability.reasons import Result, combine

Status = Literal["shown_good", "shown_bad", "open", "not_judged"]


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


@dataclass(frozen=True)
class CandidateOutcome:
    """What the audit shows about the candidate.

    Attributes:
        result: PASS, FAIL or INCONCLUSIVE.
        status: Status per cell.
        alpha_bad: Level of each *shown bad* test.
    """

    result: Result
    status: tuple[Status, ...]
    alpha_bad: float

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Cells of which something is said: those that could be shown good, or are shown bad."""
        return np.array([each != "not_judged" for each in self.status], dtype=np.bool_)


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


def judge_candidate(
    audit: Counts, cells: Cells, trial_id: str, policy: Policy, blocked: bool
) -> CandidateOutcome:
    """Judge the chosen trial on the audit.

    Args:
        audit: Audit counts that contain the trial.
        cells: The cells.
        trial_id: The chosen trial.
        policy: Errors.
        blocked: Whether PASS is blocked because a group that must be judged is not.

    Returns:
        The outcome.
    """
    row = audit.trial_ids.index(trial_id)
    family = fail_family(cells, policy.alpha_fail)
    tested = np.flatnonzero(cells.testable)
    good = np.zeros(len(cells), dtype=np.bool_)
    bad = np.zeros(len(cells), dtype=np.bool_)
    own = audit.only(row)
    good[tested] = cells_below(own, cells, tested, cells.limit, policy.alpha)[0]
    bad[family.cells] = cells_above(own, cells, family.cells, cells.limit, family.level)[0]
    status = tuple(
        _status(bool(j), bool(g), bool(b)) for j, g, b in zip(cells.judged, good, bad, strict=True)
    )
    results: list[Result] = [
        {"shown_good": "PASS", "shown_bad": "FAIL", "open": "INCONCLUSIVE"}[s]  # type: ignore[misc]
        for s in status
        if s != "not_judged"
    ]
    result = combine(results)
    if blocked and result == "PASS":
        result = "INCONCLUSIVE"
    return CandidateOutcome(result, status, family.level)


@dataclass(frozen=True)
class Candidate:
    """The chosen trial with all that the audit says about it.

    Attributes:
        choice: How it was chosen.
        outcome: How it was judged.
        row: Its row in the audit counts.
        intervals: Bounds of its drops that hold for all displayed cells together, fractions, shape
            (cells, 2).
    """

    choice: Choice
    outcome: CandidateOutcome
    row: int
    intervals: NDArray[np.float64]

    @property
    def trial_id(self) -> str:
        """The trial."""
        return self.choice.trial_id

    def interval(self, cell: int) -> tuple[float, float]:
        """Bounds of one cell's drop."""
        return float(self.intervals[cell, 0]), float(self.intervals[cell, 1])


def find_candidate(
    selection: Counts, audit: Counts, cells: Cells, policy: Policy, blocked: bool
) -> Candidate | None:
    """Choose on ``selection``, judge on ``audit``.

    Args:
        selection: Selection counts of the finished evidence trials.
        audit: Audit counts of the same trials.
        cells: The cells.
        policy: Errors.
        blocked: Whether PASS is blocked because a group that must be judged is not.

    Returns:
        The candidate, or None when no trial finished.
    """
    if not audit.trial_ids:
        return None
    choice = choose_candidate(selection, cells)
    row = audit.trial_ids.index(choice.trial_id)
    return Candidate(
        choice=choice,
        outcome=judge_candidate(audit, cells, choice.trial_id, policy, blocked),
        row=row,
        intervals=cell_intervals(audit, cells, row, policy.alpha),
    )


def _status(judged: bool, good: bool, bad: bool) -> Status:
    if bad:
        return "shown_bad"
    if not judged:
        return "not_judged"
    return "shown_good" if good else "open"
