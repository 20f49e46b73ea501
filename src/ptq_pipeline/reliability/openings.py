"""What a verdict asks of its audit images, entered in the ledger, and what policy makes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ptq_pipeline.reliability.ledger import Entry, Opener
from ptq_pipeline.reliability.policy import Policy
from ptq_pipeline.reliability.reasons import Reason, Subject
from ptq_pipeline.reliability.recipe import Draws
from ptq_pipeline.reliability.sentences import Sentence, say

# What decides how a quantized model answers; where it ran and how many threads it had do not.
IDENTITY = ("model", "method", "engine", "statistics")


@dataclass(frozen=True)
class Opening:
    """One thing that is judged, with its place in the ledger.

    Attributes:
        subject: Recipe or candidate.
        policy: The policy at the level that this opening may spend.
        entry: Its entry; None where no ledger is kept.
    """

    subject: Subject
    policy: Policy
    entry: Entry | None = None

    @property
    def refused(self) -> bool:
        """Whether policy asks for fresh images before it passes this."""
        reused = self.entry is not None and self.entry.index > 1
        return reused and self.policy.ledger.rule == "fresh"

    def reasons(self) -> list[Reason]:
        """Why these images cannot pass it, if so."""
        if not self.refused or self.entry is None:
            return []
        before = self.entry.index - 1
        sentence = say("audit_reused", before=before, subject=self.subject)
        return [Reason("audit_reused", self.subject, sentence, observed=float(before), limit=0.0)]

    def to_json(self) -> dict[str, Any]:
        """Its part of ``verdict.json``; only what was known when it was entered."""
        entry = self.entry
        return {
            "subject": self.subject,
            "index": None if entry is None else entry.index,
            "entry": None if entry is None else entry.hash,
            "alpha": self.policy.alpha,
        }


def open_audit(
    subject: Subject, question: Mapping[str, Any], policy: Policy, opener: Opener | None
) -> Opening:
    """Enter a question and fix the level that it may spend, before its answer is looked at."""
    if opener is None:
        return Opening(subject, policy)
    entry = opener(subject, question)
    if policy.ledger.rule == "spend":
        policy = policy.model_copy(update={"alpha": entry.level(policy.alpha)})
    return Opening(subject, policy, entry)


def recipe_question(draws: Draws, trials: pd.DataFrame) -> dict[str, Any]:
    """What identifies a recipe: how it quantizes, and its first calibration set.

    The id of the set hashes strategy, options, size, seed and pool, so more draws of the same
    sequence are the same recipe and drawing anew with another seed is another one.
    """
    first = str(draws.table["set_id"].iloc[0])
    return {**_identity(trials, first), "strategy": draws.strategy, "first_set": first}


def candidate_question(set_id: str, trials: pd.DataFrame) -> dict[str, Any]:
    """What identifies a candidate: how it was quantized, and its calibration set."""
    return {**_identity(trials, set_id), "calibration_set": set_id}


def ledger_json(policy: Policy, openings: list[Opening]) -> dict[str, Any] | None:
    """The part ``ledger`` of ``verdict.json``; None where no ledger is kept."""
    entered = [opening for opening in openings if opening.entry is not None]
    if not entered:
        return None
    audit = entered[0].entry.audit if entered[0].entry else None
    sentences = [_sentence(policy, opening) for opening in entered]
    return {
        "rule": policy.ledger.rule,
        "audit_hash": audit,
        "openings": [opening.to_json() for opening in entered],
        "statement": " ".join(sentence.text for sentence in sentences),
        "sentences": [sentence.to_json() for sentence in sentences],
    }


def _sentence(policy: Policy, opening: Opening) -> Sentence:
    assert opening.entry is not None
    index = opening.entry.index
    place = {"index": index, "subject": opening.subject}
    if policy.ledger.rule == "spend":
        return say("ledger.spent", **place, alpha=opening.policy.alpha)
    if index == 1:
        return say("ledger.first", **place)
    if policy.ledger.rule == "fresh":
        return say("ledger.not_fresh", **place)
    bound = min(1.0, index * policy.alpha)
    return say("ledger.again", **place, bound=bound, alpha=policy.alpha)


def _identity(trials: pd.DataFrame, set_id: str) -> dict[str, Any]:
    own = trials[(trials["set_id"] == set_id) & (trials["role"] == "evidence")]
    if own.empty or "spec" not in own:
        return {}
    spec = json.loads(str(own["spec"].iloc[0]))
    identity = {key: spec[key] for key in IDENTITY if key in spec}
    runtime = spec.get("runtime")
    return {**identity, "runtime": runtime.get("name") if isinstance(runtime, dict) else runtime}
