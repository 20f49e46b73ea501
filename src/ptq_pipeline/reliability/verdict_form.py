"""The verdict as data, and its form as ``verdict.json``; :mod:`.verdict` reaches it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from ptq_pipeline.reliability.openings import Opening, ledger_json
from ptq_pipeline.reliability.policy import Policy
from ptq_pipeline.reliability.reasons import Reason, Result
from ptq_pipeline.reliability.sentences import Sentence
from ptq_pipeline.reliability.summary import CellSummary, DrawSpread
from ptq_pipeline.reliability.tolerance import Tolerance
from ptq_pipeline.reliability.unjudged import UnjudgedGroup

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class RecipeVerdict:
    """The recipe's part of ``verdict.json``; its fields are the keys of the file."""

    result: Result
    strategy: str
    draws: int
    drawn: int
    rejected_sets: int
    identical_sets: int
    failed_trials: int
    distinct_draws: int
    shown_good: int
    shown_bad: int
    not_shown_good: int
    allowed_not_shown_good: int
    failed_after_draws: int | None
    p0: float
    alpha: float
    alpha_image: float
    alpha_draw: float
    total_error_bound: float
    alpha_fail: float
    set_size: int | None
    pool_size: int | None
    pool_ratio: float | None
    statement: str
    sentence: dict[str, Any]
    worst_draws: list[dict[str, object]]


@dataclass(frozen=True)
class CandidateVerdict:
    """The candidate's part of ``verdict.json``; its fields are the keys of the file."""

    result: Result
    trial_id: str | None
    set_id: str | None
    selection_score: float | None
    cells: list[dict[str, object]]
    chosen_on: str = "selection"


@dataclass(frozen=True)
class Verdict:
    """Everything that the worst-case check found.

    Attributes:
        result: PASS, FAIL or INCONCLUSIVE.
        headline: The verdict in a sentence.
        reasons: Why it is not PASS; empty when it is.
        settle: What would settle it; empty when it is settled.
        recipe: The recipe's part.
        candidate: The candidate's part.
        worst: Worst judged class, segment or intersection by mean drop over the draws.
        worst_by_level: The same for each level.
        average: The average on clean images.
        draw_spread: Spread of drops over the draws, per class and segment.
        groups_not_judged: Groups with too few images to be judged, or none, and groups in which
            the float model has nothing to lose.
        not_judged: The classes and segments among them in a sentence; None without any.
        policy: The policy it was held against.
        openings: Recipe and candidate in the audit ledger.
        tolerance: What nearly all draws keep in the worst group.
        class_priors: The candidate's drop under other mixes of classes.
        table: Candidate's cells beside the drops over all draws, for people and for plots.
    """

    result: Result
    headline: Sentence
    reasons: tuple[Reason, ...]
    settle: tuple[Sentence, ...]
    recipe: RecipeVerdict
    candidate: CandidateVerdict
    worst: CellSummary | None
    worst_by_level: dict[str, CellSummary | None]
    average: CellSummary | None
    draw_spread: tuple[DrawSpread, ...]
    groups_not_judged: tuple[UnjudgedGroup, ...]
    not_judged: Sentence | None
    policy: Policy
    openings: tuple[Opening, ...]
    tolerance: Tolerance
    class_priors: tuple[dict[str, object], ...]
    table: pd.DataFrame = field(compare=False)

    def to_json(self) -> dict[str, Any]:
        """The content of ``verdict.json``: JSON types, no NaN, no time and no path."""
        return {
            "schema_version": SCHEMA_VERSION,
            "result": self.result,
            "headline": self.headline.text,
            "headline_sentence": self.headline.to_json(),
            "reasons": [reason.to_json() for reason in self.reasons],
            "settle": [sentence.text for sentence in self.settle],
            "settle_sentences": [sentence.to_json() for sentence in self.settle],
            "recipe": asdict(self.recipe),
            "candidate": asdict(self.candidate),
            "worst": _optional(self.worst),
            "worst_by_level": {k: _optional(v) for k, v in self.worst_by_level.items()},
            "average": _optional(self.average),
            "draw_spread": [asdict(spread) for spread in self.draw_spread],
            "groups_not_judged": [asdict(group) for group in self.groups_not_judged],
            "not_judged": self.not_judged.text if self.not_judged else None,
            "not_judged_sentence": self.not_judged.to_json() if self.not_judged else None,
            "ledger": ledger_json(self.policy, list(self.openings)),
            "tolerance": self.tolerance.to_json(),
            "class_priors": [dict(mix) for mix in self.class_priors],
            "policy_hash": self.policy.hash,
            "policy": self.policy.to_json(),
        }


def _optional(cell: CellSummary | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    return {**asdict(cell), "interval": list(cell.interval)}
