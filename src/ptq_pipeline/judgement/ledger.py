"""The audit ledger: how often a set of audit images was asked, and what another question costs.

Whoever asks one set of images about many recipes finds one that passes by luck. Every distinct
question is therefore entered, once, by hashes; asking it again gives the same entry and costs
nothing. Other limits, groups or shifts do not make another question: for one model they are nested
one-sided bounds of the same outcomes. Another method, another set, another seed of the draws do.

The ``j``-th question of its kind may spend ``6 alpha / (pi**2 j**2)``. These add up to ``alpha``
over any number of questions, so the chance that any of them is a wrong PASS stays at ``alpha``
however the next question was chosen after seeing the answers (the union bound over a fixed
sequence of levels, alpha spending as in Foster and Stine 2008, "Alpha-investing", JRSS B 70).

The file holds one JSON object per line; each carries the hash of the one before, so an edited,
removed or moved line is found. A file beside it, ``audit_ledger.head.json``, holds the number of
lines and the hash of the last one, so lines cut off the end are found as well, and a lost file.
Version control keeps both, and the verdict, which names its entries: what it asks of its audit
images is entered here, and policy says what becomes of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import pandas as pd
from filelock import FileLock, Timeout

from ptq_pipeline.core.canonical import canonical_hash, canonical_json, file_bytes
from ptq_pipeline.core.chains import ChainError, Head, Link, head_of, read_link
from ptq_pipeline.core.documents import READING, Document
from ptq_pipeline.core.errors import InputError, first_fault
from ptq_pipeline.core.files import write_file
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.recipe import Draws
from ptq_pipeline.judgement.sentences import Reason, Sentence, Subject, say

LEDGER_SCHEMA_VERSION: Final = 1
Rule = Literal["spend", "warn", "fresh"]
LOCK_SECONDS = 60.0
# What decides how a quantized model answers; where it ran and how many threads it had do not.
IDENTITY = ("model", "method", "engine", "statistics")
WAY_OUT = "restore the file from version control; a ledger is only ever added to"


class Entry(Link):
    """One question that was asked of one set of audit images.

    Attributes:
        audit: Hash of the audit images, see :func:`.audit_hash`.
        kind: What was judged, e.g. ``recipe``, ``candidate`` or ``design``.
        index: Its place among the distinct questions of this kind for these images, from 1.
        question: What identifies it: names and hashes.
    """

    schema_version: Literal[1] = LEDGER_SCHEMA_VERSION
    audit: str
    kind: str
    index: int
    question: dict[str, Any]

    @property
    def question_hash(self) -> str:
        """Hash of the question."""
        return canonical_hash(self.question)

    def level(self, alpha: float) -> float:
        """What this question may spend of ``alpha``.

        Examples:
            >>> second = Entry(audit="", kind="recipe", index=2, question={}, previous=None)
            >>> round(second.level(0.05), 4)
            0.0076
        """
        return alpha_at(alpha, self.index)

    @property
    def line(self) -> bytes:
        """Its line in the file: what it says, and the hash of that."""
        return canonical_json(self.to_json())


class LedgerHead(Document):
    """Content of the head's file."""

    entries: int
    head: str


# Enters a question of a kind about one set of audit images: (kind, question) -> entry.
Opener = Callable[[str, Mapping[str, Any]], Entry]


def alpha_at(alpha: float, index: int) -> float:
    """Level of the ``index``-th question, ``6 alpha / (pi**2 index**2)``."""
    return 6 * alpha / (math.pi * index) ** 2


class Ledger:
    """All entries of one file.

    Args:
        path: The file; a missing one is an empty ledger.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def head(self) -> Path:
        """The file that holds the number of entries and the hash of the last one."""
        return self.path.with_suffix(".head.json")

    def entries(self) -> tuple[Entry, ...]:
        """Return all entries in their order.

        Raises:
            InputError: If the file was edited or shortened, is lost or cannot be read.
        """
        found: list[Entry] = []
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            if not lines:
                raise InputError(f"'{self.path}' is empty, and no audit ledger ever is: {WAY_OUT}")
            for number, line in enumerate(lines, start=1):
                found.append(_entry(line, f"'{self.path}', line {number}", found))
        known = self._known_head()
        # A process that was killed in between leaves the head one entry behind, never ahead.
        if head_of(found[: known[0]]) != known:
            raise InputError(
                f"'{self.path}' holds {len(found)} entries, and '{self.head}' knows of {known[0]}, "
                f"the last of which is not there: entries are missing: {WAY_OUT}"
            )
        return tuple(found)

    def _known_head(self) -> Head:
        """What the head's file says; nothing where there is none, as with earlier releases."""
        try:
            known = LedgerHead.model_validate_json(self.head.read_bytes(), context=READING)
        except FileNotFoundError:
            return 0, None
        except ValueError as error:
            raise InputError(
                f"'{self.head}' is damaged ({first_fault(error)}): {WAY_OUT}"
            ) from error
        return known.entries, known.head

    def enter(self, audit: str, kind: str, question: Mapping[str, Any]) -> Entry:
        """Enter a question before its answer is looked at.

        Args:
            audit: Hash of the audit images.
            kind: What is judged.
            question: What identifies it, JSON types without NaN.

        Returns:
            Its entry: the old one if it was asked before.

        Raises:
            InputError: If the file was edited, or another process holds it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            with FileLock(lock, timeout=LOCK_SECONDS):
                return self._enter(audit, kind, dict(question))
        except Timeout:
            raise InputError(
                f"another process has held '{lock}' for {LOCK_SECONDS:.0f} s; end it, or run this "
                "again when it is done"
            ) from None

    def _enter(self, audit: str, kind: str, question: dict[str, Any]) -> Entry:
        entries = self.entries()
        asked = _alike(entries, audit, kind)
        wanted = canonical_hash(question)
        known = next((each for each in asked if each.question_hash == wanted), None)
        if known is None:
            index, previous = len(asked) + 1, head_of(entries)[1]
            known = Entry(audit=audit, kind=kind, index=index, question=question, previous=previous)
            entries = (*entries, known)
            write_file(self.path, b"".join(each.line + b"\n" for each in entries))
        if self._known_head() != head_of(entries):
            head = LedgerHead(entries=len(entries), head=entries[-1].hash)
            write_file(self.head, file_bytes(head.to_json()))
        return known

    def opener(self, audit: str) -> Opener:
        """Return :meth:`enter` for one set of audit images."""
        return lambda kind, question: self.enter(audit, kind, question)


def _alike(entries: Sequence[Entry], audit: str, kind: str) -> list[Entry]:
    return [each for each in entries if (each.audit, each.kind) == (audit, kind)]


def _entry(line: str, where: str, before: Sequence[Entry]) -> Entry:
    try:
        entry = read_link(Entry, line, before)
        if entry.index != len(_alike(before, entry.audit, entry.kind)) + 1:
            raise ChainError
    except ChainError:
        raise InputError(f"{where}: the audit ledger was edited: {WAY_OUT}") from None
    except ValueError as error:
        raise InputError(
            f"{where}: no entry of the audit ledger ({first_fault(error)}): {WAY_OUT}"
        ) from None
    return entry


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
