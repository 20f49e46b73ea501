"""When drift becomes an event: k of the last n windows, once, and not again too soon.

A pure function of what was observed, a small state and the clock. The state is what `kedro ptq
watch` keeps between two calls of cron.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.documents import Document
from ptq_pipeline.monitoring.history import WindowRecord
from ptq_pipeline.monitoring.parameters import TriggerRules


def _zoned(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(f"time '{text}' names no time zone")
    return text


# ISO 8601 with its time zone; kept as it was written.
Instant = Annotated[str, AfterValidator(_zoned)]


class Action(StrEnum):
    """What the trigger asks for."""

    NOTHING = "nothing"
    WAIT = "wait"
    REAUDIT = "reaudit"


class Event(Document):
    """One drift event.

    Attributes:
        event: its id, a hash of windows and champion.
        windows: the drifted windows that fired it, oldest first.
        champion: version that served.
        time: when it fired, with its time zone.
    """

    event: str
    windows: tuple[str, ...] = Field(min_length=1)
    champion: str | None
    time: Instant


@dataclass(frozen=True)
class Advice:
    """What to do now, and why.

    Attributes:
        action: nothing, wait, or reaudit.
        event: the event to act on.
        audit_windows: the windows that came after the event, for its audit.
        reason: one sentence.
        warnings: what looks wrong.
    """

    action: Action
    event: Event | None
    audit_windows: tuple[str, ...]
    reason: str
    warnings: tuple[str, ...] = ()


class TriggerState(Document):
    """What is remembered between two calls: the content of the state file.

    Attributes:
        handled: windows that earlier calls have counted, oldest first.
        armed: whether the next drift is a new event.
        calm: calm windows in a row since the last event.
        last_event: the last event.
        pending: the event whose action is still due; None when there is none.
        waits_after: the last window that the pending event was judged on without an end; it is
            judged again when another has come.
        waits_for: what is missing to judge it, one sentence.
        latest: when the last call was; it only tells a clock that went backwards.
        outcomes: what came of each event, by its id.
        reported: how many windows of the log earlier calls have reported.
    """

    called: ClassVar[str] = "the state of the watch"
    way_out: ClassVar[str] = (
        "move the file away to start again: every window then counts as new, and the champion "
        "keeps serving meanwhile"
    )

    schema_version: Literal[1] = 1
    handled: tuple[str, ...] = ()
    armed: bool = True
    calm: int = 0
    last_event: Event | None = None
    pending: Event | None = None
    waits_after: str | None = None
    waits_for: str = ""
    latest: Instant | None = None
    outcomes: dict[str, dict[str, Any]] = {}
    reported: int = 0

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Self:
        """Read the content of the state file, which names its version."""
        return super().read({"schema_version": None, **content})

    def advanced(
        self, windows: Sequence[WindowRecord], rules: TriggerRules, now: datetime
    ) -> tuple[TriggerState, Advice]:
        """Take in all accepted windows, oldest first, and say what to do now.

        An event stays pending until it is concluded, so a call that was killed in between is made
        up for by the next one.
        """
        state, warnings = self._at(now)
        counted = [each for each in windows if each.n >= rules.minimum_samples]
        new = [each for each in counted if each.window not in self.handled]
        for position, each in enumerate(counted, 1):
            if each.window not in self.handled:
                state = state._observed(counted[:position], rules, now)
        return state, state._advice(counted, new, rules, warnings)

    def _advice(
        self,
        counted: Sequence[WindowRecord],
        new: Sequence[WindowRecord],
        rules: TriggerRules,
        warnings: tuple[str, ...],
    ) -> Advice:
        event = self.pending
        if event is None:
            return Advice(Action.NOTHING, None, (), self._why_not(new, rules), warnings)
        later = tuple(each.window for each in _after(counted, event.windows[-1]))
        action = Action.WAIT
        if not later and rules.later_window:
            last = event.windows[-1]
            reason = f"event {event.event} waits for a window after {last}, for its audit"
        elif self.waits_after is not None and not _after(counted, self.waits_after):
            reason = f"event {event.event} waits for more windows: {self.waits_for}"
        else:
            action, count = Action.REAUDIT, len(event.windows)
            drifted = ", ".join(event.windows)
            reason = f"{count} of the last {rules.windows} windows drifted: {drifted}"
        return Advice(action, event, later, reason, warnings)

    def concluded(self, event: Event, outcome: Mapping[str, Any]) -> TriggerState:
        """Record what came of an event; it is not acted on again."""
        outcomes = {**self.outcomes, event.event: dict(outcome)}
        ended = {"pending": None, "waits_after": None, "waits_for": "", "outcomes": outcomes}
        return self.model_copy(update=ended)

    def abandoned(self, event: Event, outcome: Mapping[str, Any]) -> TriggerState:
        """Record that an event cannot be judged; drift in the windows after it is a new event."""
        return self.concluded(event, outcome).model_copy(update={"armed": True})

    def postponed(self, last_window: str, reason: str) -> TriggerState:
        """Leave the event pending until a window after the last that it was judged on has come."""
        return self.model_copy(update={"waits_after": last_window, "waits_for": reason})

    def _at(self, now: datetime) -> tuple[TriggerState, tuple[str, ...]]:
        """Set the time of this call; where the clock went backwards, the cooldown starts again.

        So a clock that was wrong for a while neither skips a cooldown, by going back, nor makes it
        last longer than its hours after the clock is right.
        """
        before, last = self.latest, self.last_event
        state = self.model_copy(update={"latest": now.isoformat()})
        if before is None or now >= datetime.fromisoformat(before):
            return state, ()
        if last is not None and datetime.fromisoformat(last.time) > now:
            last = last.model_copy(update={"time": now.isoformat()})
            state = state.model_copy(update={"last_event": last})
        return state, (
            f"the clock went backwards: it is {now.isoformat()}, and the last call was at {before};"
            " a cooldown that began after now starts again now, and windows keep the order of "
            "arrival",
        )

    def _observed(
        self, seen: Sequence[WindowRecord], rules: TriggerRules, now: datetime
    ) -> TriggerState:
        """Take in the last of the windows that were seen."""
        latest, last = seen[-1], self.last_event
        calm = 0 if latest.drifted else self.calm + 1
        changed = last is not None and latest.champion != last.champion
        armed = self.armed or calm >= rules.rearm_after or changed
        handled = (*self.handled, latest.window)
        state = self.model_copy(update={"handled": handled, "calm": calm, "armed": armed})
        # Windows from before the last event have been acted on, or were before another champion.
        since = (_after(seen, last.windows[-1]) if last else seen)[-rules.windows :]
        drifted = tuple(each.window for each in since if each.drifted)
        fires = latest.drifted and armed and len(drifted) >= rules.drifted
        if not fires or self.pending is not None or self._cooling(rules, now):
            return state
        event = Event(
            event=canonical_hash({"windows": drifted, "champion": latest.champion})[:12],
            windows=drifted,
            champion=latest.champion,
            time=now.isoformat(),
        )
        return state.model_copy(update={"armed": False, "last_event": event, "pending": event})

    def _cooling(self, rules: TriggerRules, now: datetime) -> bool:
        if self.last_event is None:
            return False
        since = now - datetime.fromisoformat(self.last_event.time)
        return since < timedelta(hours=rules.cooldown_hours)

    def _why_not(self, new: Sequence[WindowRecord], rules: TriggerRules) -> str:
        if not new:
            return "no new window"
        drifted = ", ".join(each.window for each in new if each.drifted)
        if not drifted:
            return "no new window drifted"
        if not self.armed:
            return (
                f"drifted: {drifted}; this drift has been acted on, and a new event needs "
                f"{rules.rearm_after} calm windows in a row first"
            )
        return (
            f"drifted: {drifted}; an event needs {rules.drifted} of the last {rules.windows} "
            f"windows, and {rules.cooldown_hours:g} h since the last event"
        )


def _after(seen: Sequence[WindowRecord], window: str) -> Sequence[WindowRecord]:
    names = [each.window for each in seen]
    return seen[names.index(window) + 1 :] if window in names else seen
