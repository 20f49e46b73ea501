"""What a verdict asks of its audit images, entered in the ledger, and what policy makes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from ptq_pipeline.core.documents import Document
from ptq_pipeline.judgement.ledger import Entry, Opener, Rule
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.recipe import Draws
from ptq_pipeline.judgement.sentences import Reason, Sentence, Subject, say

# What decides how a quantized model answers; where it ran and how many threads it had do not.
IDENTITY = ("model", "method", "engine", "statistics")


@dataclass(frozen=True)
class Opening:
    """One thing that is judged, with its place in the ledger, and its policy.

    The policy is at the level that it may spend; without a ledger it has no entry.
    """

    subject: Subject
    policy: Policy
    entry: Entry | None = None

    @classmethod
    def enter(
        cls, subject: Subject, question: dict[str, Any], policy: Policy, opener: Opener | None
    ) -> Opening:
        """Enter a question and fix the level that it may spend, before its answer is looked at."""
        entry = None if opener is None else opener(subject, question)
        if entry is not None and policy.ledger.rule == "spend":
            policy = policy.model_copy(update={"alpha": entry.level(policy.alpha)})
        return cls(subject, policy, entry)

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
        figures: dict[str, Any] = {"observed": float(before), "limit": 0.0}
        return [Reason.of("audit_reused", self.subject, sentence, **figures)]


class EnteredOpening(Document):
    """One opening as the verdict tells it: what was known when it was entered."""

    subject: Subject
    index: int
    entry: str
    alpha: float


class LedgerView(Document):
    """How often the audit images were asked before, as the verdict tells it."""

    added: ClassVar[frozenset[str]] = frozenset({"audit_hash", "sentences"})

    rule: Rule
    audit_hash: str | None = None
    openings: tuple[EnteredOpening, ...]
    statement: str
    sentences: tuple[Sentence, ...] = ()

    @classmethod
    def of(cls, policy: Policy, openings: Sequence[Opening]) -> LedgerView | None:
        """Tell of the openings; None where no ledger is kept."""
        entered = [(each, each.entry) for each in openings if each.entry is not None]
        if not entered:
            return None
        sentences = tuple(_sentence(policy, opening, entry.index) for opening, entry in entered)
        return cls(
            rule=policy.ledger.rule,
            audit_hash=entered[0][1].audit,
            openings=tuple(
                EnteredOpening(
                    subject=opening.subject,
                    index=entry.index,
                    entry=entry.hash,
                    alpha=opening.policy.alpha,
                )
                for opening, entry in entered
            ),
            statement=" ".join(sentence.text for sentence in sentences),
            sentences=sentences,
        )


def recipe_question(draws: Draws, trials: pd.DataFrame) -> dict[str, Any]:
    """What identifies a recipe: how it quantizes, and its first calibration set.

    The id of the set hashes strategy, options, size, seed and pool, so more draws of the same
    sequence are the same recipe and drawing again with another seed is another one.
    """
    first = str(draws.table["set_id"].iloc[0])
    return {**_identity(trials, first), "strategy": draws.strategy, "first_set": first}


def candidate_question(set_id: str, trials: pd.DataFrame) -> dict[str, Any]:
    """What identifies a candidate: how it was quantized, and its calibration set."""
    return {**_identity(trials, set_id), "calibration_set": set_id}


def _sentence(policy: Policy, opening: Opening, index: int) -> Sentence:
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
