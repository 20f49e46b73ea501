"""A reason: one rule, what it saw, and one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from ptq_pipeline.core.documents import Document, Interval
from ptq_pipeline.core.group_ids import Level
from ptq_pipeline.judgement.sentences import Sentence, place_value

Result = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Subject = Literal["recipe", "candidate"]


class Reason(Document):
    """Why a verdict is what it is.

    Attributes:
        rule: Name of the rule, e.g. ``candidate.limit``.
        subject: ``recipe`` or ``candidate``.
        text: What it says, in English.
        sentence: What it says, by key.
        level: Level of the group concerned, if any.
        group: Group concerned, if any.
        shift: Shift concerned, if any.
        observed: Observed value; a drop is a fraction, a count of draws a count.
        interval: Interval of the observed value.
        limit: What it was held against.
        n: Samples or draws behind it.
    """

    added: ClassVar[frozenset[str]] = frozenset({"sentence"})

    rule: str
    subject: Subject
    text: str
    sentence: Sentence | None = None
    level: Level | None = None
    group: str | None = None
    shift: str | None = None
    observed: float | None = None
    interval: Interval | None = None
    limit: float | None = None
    n: int | None = None

    @classmethod
    def of(
        cls,
        rule: str,
        subject: Subject,
        sentence: Sentence,
        place: Sequence[str] = (),
        **figures: Any,
    ) -> Self:
        """Give a reason by its sentence.

        Args:
            rule: Name of the rule.
            subject: Recipe or candidate.
            sentence: What it says.
            place: The group, or the cell, that is concerned.
            figures: ``observed``, ``interval``, ``limit``, ``n`` and, without a group, ``shift``.
        """
        said = {"rule": rule, "subject": subject, "text": sentence.text, "sentence": sentence}
        return cls.model_validate({**said, **place_value(place), **figures})


def combine(results: Sequence[Result]) -> Result:
    """FAIL if any fails, PASS if all pass, otherwise INCONCLUSIVE."""
    if "FAIL" in results:
        return "FAIL"
    return "PASS" if results and all(result == "PASS" for result in results) else "INCONCLUSIVE"
