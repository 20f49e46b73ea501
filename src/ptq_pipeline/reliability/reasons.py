"""A reason: one rule, what it saw, and one sentence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from ptq_pipeline.reliability.sentences import Sentence

Result = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Subject = Literal["recipe", "candidate"]


@dataclass(frozen=True)
class Reason:
    """Why a verdict is what it is.

    Attributes:
        rule: Name of the rule, e.g. ``candidate.limit``.
        subject: ``recipe`` or ``candidate``.
        sentence: What it says.
        level: Level of the group concerned, if any.
        group: Group concerned, if any.
        shift: Shift concerned, if any.
        observed: Observed value; a drop is a fraction, a count of draws a count.
        interval: Interval of the observed value.
        limit: What it was held against.
        n: Samples or draws behind it.
    """

    rule: str
    subject: Subject
    sentence: Sentence
    level: str | None = None
    group: str | None = None
    shift: str | None = None
    observed: float | None = None
    interval: tuple[float, float] | None = None
    limit: float | None = None
    n: int | None = None

    @property
    def text(self) -> str:
        """The sentence in English."""
        return self.sentence.text

    def to_json(self) -> dict[str, object]:
        """JSON types."""
        content = asdict(self)
        content["interval"] = None if self.interval is None else list(self.interval)
        return content | {"text": self.text, "sentence": self.sentence.to_json()}


def combine(results: list[Result]) -> Result:
    """FAIL if any fails, PASS if all pass, otherwise INCONCLUSIVE."""
    if "FAIL" in results:
        return "FAIL"
    return "PASS" if results and all(result == "PASS" for result in results) else "INCONCLUSIVE"
