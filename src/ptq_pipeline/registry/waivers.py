"""Waivers: a rule that may be broken, by whom, why and until when. They count at release only."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.plain_text import plain
from ptq_pipeline.judgement import Reason


@dataclass(frozen=True)
class Waiver:
    """An exception to one rule of the verdict.

    Attributes:
        rule: name of the rule, as reasons carry it, for example ``candidate.limit``.
        reason: why it may be broken.
        expires: last day on which it counts, ISO 8601.
        by: who granted it.
        group: only for this group; None for every group.
        shift: only under this shift; None for every shift.
    """

    rule: str
    reason: str
    expires: str
    by: str
    group: str | None = None
    shift: str | None = None

    def __post_init__(self) -> None:
        for name in ("rule", "reason", "by"):
            if not getattr(self, name).strip():
                raise InputError(f"a waiver needs a {name}: it must say what it allows and why")
        for name in ("rule", "reason", "by", "group", "shift"):
            plain(f"the {name} of a waiver", getattr(self, name) or "")
        try:
            date.fromisoformat(self.expires)
        except ValueError:
            raise InputError(
                f"the expiry date '{self.expires}' of a waiver must be a date like 2027-03-31"
            ) from None

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Waiver":
        """Read it from a record, which may also hold what the clock said."""
        names = {each.name for each in fields(cls)}
        return cls(**{key: value for key, value in content.items() if key in names})

    def has_expired(self, today: date) -> bool:
        """Return whether its last day is over."""
        return date.fromisoformat(self.expires) < today

    def covers(self, reason: Reason) -> bool:
        """Return whether it excuses ``reason``."""
        return (
            reason.rule == self.rule
            and self.group in (None, reason.group)
            and self.shift in (None, reason.shift)
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def uncovered(
    reasons: Iterable[Reason], waivers: Iterable[Waiver]
) -> tuple[list[Reason], list[Waiver]]:
    """Return the reasons that no waiver excuses, and the waivers that excused others."""
    waivers, used, left = list(waivers), [], []
    for reason in reasons:
        helping = next((waiver for waiver in waivers if waiver.covers(reason)), None)
        if helping is None:
            left.append(reason)
        elif helping not in used:
            used.append(helping)
    return left, used
