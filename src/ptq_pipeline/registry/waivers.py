"""Waivers: a rule that may be broken, by whom, why and until when. They count at release only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import ClassVar, Self

from pydantic import ConfigDict, ValidationError, model_validator

from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError, first_fault
from ptq_pipeline.core.plain_text import plain
from ptq_pipeline.judgement.sentences import Reason

# Of a rule's groups, those that an error names.
MOST_PLACES = 8


class Waiver(Document):
    """An exception to one rule of the verdict.

    Attributes:
        rule: name of the rule, as reasons carry it, for example ``candidate.limit``.
        reason: why it may be broken.
        expires: last day on which it counts, ISO 8601.
        by: who granted it.
        group: only for this group; None for every group.
        shift: only under this shift; None for every shift.
    """

    # The content of a record may also hold what the clock said.
    model_config = ConfigDict(extra="ignore")
    called: ClassVar[str] = "a waiver of the log"
    way_out: ClassVar[str] = "restore the log from a backup"

    rule: str
    reason: str
    expires: str
    by: str
    group: str | None = None
    shift: str | None = None

    @classmethod
    def granted(cls, rule: str, reason: str, expires: str, by: str, **only: str | None) -> Waiver:
        """Return a new waiver; ``group`` and ``shift`` may be given as well.

        Raises:
            InputError: something is empty, is no plain text, or is no date.
        """
        try:
            return cls(rule=rule, reason=reason, expires=expires, by=by, **only)
        except ValidationError as error:
            raise InputError(first_fault(error)) from error

    @model_validator(mode="after")
    def _sayable(self) -> Self:
        for name in ("rule", "reason", "by"):
            if not getattr(self, name).strip():
                raise ValueError(f"a waiver needs a {name}: it must say what it allows and why")
        for name in ("rule", "reason", "by", "group", "shift"):
            plain(f"the {name} of a waiver", getattr(self, name) or "")
        try:
            date.fromisoformat(self.expires)
        except ValueError:
            raise ValueError(
                f"the expiry date '{self.expires}' of a waiver must be a date like 2027-03-31"
            ) from None
        return self

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


def check_against(waiver: Waiver, reasons: Sequence[Reason]) -> None:
    """Check that a new waiver excuses at least one reason of the last decision.

    Raises:
        InputError: it excuses none, as with a typing error; the message names the reasons that
            there are.
    """
    if any(waiver.covers(reason) for reason in reasons):
        return
    same = [reason for reason in reasons if reason.rule == waiver.rule]
    if not reasons:
        raise InputError("the last decision has no reason against the candidate: nothing to waive")
    if not same:
        rules = ", ".join(dict.fromkeys(reason.rule for reason in reasons))
        raise InputError(
            f"no reason of the last decision has the rule '{waiver.rule}'; its rules are {rules}"
        )
    places = (f"{reason.group or 'no group'} under {reason.shift or 'any'}" for reason in same)
    known = "; ".join(list(dict.fromkeys(places))[:MOST_PLACES])
    raise InputError(
        f"no reason '{waiver.rule}' of the last decision is about group "
        f"'{waiver.group or 'any'}' under shift '{waiver.shift or 'any'}'; it has: {known}"
    )


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
