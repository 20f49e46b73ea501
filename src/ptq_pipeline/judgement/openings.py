"""What a look at audit images may spend: its place in the ledger, and what policy makes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pandas as pd

from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.handed_on import HandedOn
from ptq_pipeline.judgement.baseline import audit_hash
from ptq_pipeline.judgement.ledger import Asking, AuditImages, Entry, Ledger
from ptq_pipeline.judgement.policy import LedgerRule, Policy
from ptq_pipeline.judgement.sentences import Reason, Sentence, Subject, say
from ptq_pipeline.statistics.draws import split_budget

# What decides how a quantized model answers; where it ran and how many threads it had do not.
IDENTITY = ("model", "method", "engine", "statistics")
# Why a look cannot PASS, by the name of its reason.
Refusal = Literal["audit_reused", "audit_questions_spent", "audit_looks_spent"]


@dataclass(frozen=True, eq=False)
class Opener(HandedOn):
    """The ledger, and the images of one audit.

    ``selection`` is the hash of the images that the candidate is chosen on.
    """

    ledger: Ledger
    images: AuditImages
    selection: str = ""

    @classmethod
    def of(cls, ledger: Ledger, samples: pd.DataFrame) -> Opener:
        """For ``samples``: ``sample_id``, ``split``, ``content_hash``."""
        ordered = samples.sort_values("sample_id")
        hashes = {
            split: ordered.loc[ordered["split"] == split, "content_hash"]
            for split in ("audit", "selection")
        }
        return cls(ledger, AuditImages.of(hashes["audit"]), audit_hash(hashes["selection"]))

    def enter(self, asking: Asking) -> Entry:
        """See :meth:`.Ledger.enter`."""
        return self.ledger.enter(self.images, asking)

    def foresee(self, asking: Asking) -> Entry:
        """See :meth:`.Ledger.foresee`."""
        return self.ledger.foresee(self.images, asking)


@dataclass(frozen=True)
class Opening:
    """One look, with its place in the ledger and its policy.

    Attributes:
        subject: What it asks about; a recipe's look is also that of its candidate.
        policy: At the level that it may spend.
        asked: The policy as it is.
        entry: None where no ledger is kept.
        refusal: Why it cannot PASS; None if it can.
    """

    subject: Subject
    policy: Policy
    asked: Policy
    entry: Entry | None = None
    refusal: Refusal | None = None

    @classmethod
    def of(cls, subject: Subject, policy: Policy, entry: Entry | None, can_pass: bool) -> Opening:
        """Fix what a look may spend; one that cannot pass anyway is refused nothing."""
        if entry is None:
            return cls(subject, policy, policy)
        part = policy.ledger.part(entry.index)
        refusal: Refusal | None = None
        if part <= 0:
            reused = policy.ledger.rule == "fresh"
            refusal = "audit_reused" if reused else "audit_questions_spent"
        elif can_pass and entry.share <= 0:
            refusal = "audit_looks_spent"
        # What cannot pass is shown at the level that a look would have had.
        spent = (part or 1.0) * (entry.share or 1 / policy.ledger.looks)
        spending = (
            policy.model_copy(update={"alpha": policy.alpha * spent}) if spent < 1 else policy
        )
        return cls(subject, spending, policy, entry, refusal)

    @property
    def refused(self) -> bool:
        """Whether these images cannot pass it."""
        return self.refusal is not None

    def reasons(self) -> list[Reason]:
        """Why these images cannot pass it, if so."""
        if self.refusal is None or self.entry is None:
            return []
        before = self.entry.index - 1
        planned = self.policy.ledger.questions
        said = {"before": before, "questions": planned, "index": self.entry.index}
        sentence = say(self.refusal, subject=self.subject, **said)
        figures: dict[str, Any] = {"observed": float(before), "limit": 0.0}
        return [Reason.of(self.refusal, self.subject, sentence, **figures)]


class EnteredOpening(Document):
    """One opening as the verdict tells it: what was known when it was entered.

    ``share`` is the part of its question's level that the look may spend.
    """

    added: ClassVar[frozenset[str]] = frozenset({"share"})

    subject: Subject
    index: int
    entry: str
    alpha: float
    share: float = 1.0


class LedgerView(Document):
    """How often the audit images were asked before, as the verdict tells it."""

    added: ClassVar[frozenset[str]] = frozenset({"audit_hash", "sentences"})

    rule: LedgerRule
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
        # A recipe and its candidate are one look.
        told = {entry.hash: (opening, entry) for opening, entry in reversed(entered)}
        found = (_sentences(policy, *each) for each in reversed(told.values()))
        sentences = tuple(sentence for each in found for sentence in each)
        return cls(
            rule=policy.ledger.rule,
            audit_hash=entered[0][1].audit,
            openings=tuple(
                EnteredOpening(
                    subject=opening.subject,
                    index=entry.index,
                    entry=entry.hash,
                    alpha=opening.policy.alpha,
                    share=entry.share,
                )
                for opening, entry in entered
            ),
            statement=" ".join(sentence.text for sentence in sentences),
            sentences=sentences,
        )


def _sentences(policy: Policy, opening: Opening, entry: Entry) -> list[Sentence]:
    place, alpha = {"index": entry.index}, opening.policy.alpha
    if opening.refusal in ("audit_reused", "audit_questions_spent"):
        found = [say("ledger.not_fresh", **place)]
    elif policy.ledger.rule in ("spend", "divide"):
        found = [say("ledger.spent", **place, alpha=alpha)]
    elif entry.index == 1:
        found = [say("ledger.first", **place)]
    else:
        bound = min(1.0, entry.index * policy.alpha)
        found = [say("ledger.again", **place, bound=bound, alpha=policy.alpha)]
    if 0 < entry.share < 1 and policy.ledger.rule in ("warn", "fresh"):
        found.append(say("ledger.look", share=entry.share, alpha=alpha))
    return found


def next_opening(opener: Opener, policy: Policy) -> Opening:
    """What a recipe that was not asked yet could spend; nothing is entered."""
    asking = Asking("recipe", {"recipe": "not asked yet"}, {}, 1 / policy.ledger.looks)
    return Opening.of("recipe", policy, opener.foresee(asking), can_pass=True)


def nothing_left(opener: Opener, policy: Policy) -> str:
    """Why a recipe that was not asked yet could not PASS on these images, if the ledger is why."""
    opening = next_opening(opener, policy)
    if opening.entry is None or policy.representatives is not None:
        return ""
    alone = split_budget(policy.draws, policy.p0, policy.alpha, policy.sampling)
    alpha = opening.policy.alpha
    left = split_budget(policy.draws, policy.p0, alpha, policy.sampling)
    if not alone.pass_possible or (left.pass_possible and not opening.refused):
        return ""
    why = f"at its level of {100 * alpha:.2g} % a PASS takes {left.needed_draws} draws"
    return (
        f"worst_case_check.ledger: a recipe that was not asked yet would be question "
        f"{opening.entry.index} to these audit images, and "
        f"{'no level is left for it' if opening.refused else why}: it could not PASS; take fresh "
        "audit images, or see `kedro ptq plan`"
    )


def recipe_question(
    spec: Mapping[str, Any], strategy: str, first_set: str, trial_id: str = ""
) -> dict[str, Any]:
    """What identifies a recipe: how it quantizes, and its first calibration set.

    The id of the set hashes strategy, options, size, seed and pool, so more draws of the same
    sequence are the same recipe and drawing again with another seed is another one. ``spec`` is
    that of any of its trials; where none is known, ``trial_id`` stands in for it.
    """
    identity = {key: spec[key] for key in IDENTITY if key in spec} or {"trial": trial_id}
    runtime = spec.get("runtime")
    if isinstance(runtime, dict):
        # Two devices that commands reach are two recipes.
        runtime = " ".join(filter(None, (runtime.get("name"), runtime.get("tool"))))
    return {**identity, "runtime": runtime, "strategy": strategy, "first_set": first_set}


def spec_of(trials: pd.DataFrame) -> dict[str, Any]:
    """The spec of the recipe's first trial; empty where tables hold none."""
    own = trials[trials["role"] == "evidence"]
    if own.empty or "spec" not in own:
        return {}
    spec: dict[str, Any] = json.loads(str(own.sort_values("draw", kind="stable")["spec"].iloc[0]))
    return spec
