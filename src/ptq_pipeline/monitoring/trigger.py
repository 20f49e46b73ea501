"""When drift becomes an event: k of the last n windows, once, and not again too soon.

A pure function of what was observed, a small state and the clock. The state is what `kedro ptq
watch` keeps between two calls of cron.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError, first_fault


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"time '{text}' names no time zone")
    return instant


def _checked(text: str) -> str:
    _instant(text)
    return text


# ISO 8601 with its time zone; kept as it was written.
Instant = Annotated[str, AfterValidator(_checked)]


class Action(StrEnum):
    """What the trigger asks for."""

    NOTHING = "nothing"
    WAIT = "wait"
    REAUDIT = "reaudit"


class TriggerRules(BaseModel):
    """When an event fires.

    Attributes:
        windows: how many of the latest windows are looked at (n).
        drifted: how many of them must have drifted (k); the latest must be one of them.
        minimum_samples: smaller windows are recorded and count for nothing.
        rearm_after: calm windows in a row after which the next drift is a new event.
        cooldown_hours: hours after an event in which no other fires.
        later_window: whether to wait for a window after the event, for its audit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    windows: int = Field(default=3, ge=1)
    drifted: int = Field(default=2, ge=1)
    minimum_samples: int = Field(default=500, ge=1)
    rearm_after: int = Field(default=2, ge=1)
    cooldown_hours: float = Field(default=24.0, ge=0)
    later_window: bool = False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.drifted > self.windows:
            raise ValueError(f"{self.drifted} of {self.windows} windows can never have drifted")
        return self


@dataclass(frozen=True)
class Observation:
    """What monitoring found about one accepted window, in the order of arrival.

    Attributes:
        window: its name.
        samples: its accepted images.
        drifted: whether it is unlike the reference.
        champion: version that served when it was looked at.
    """

    window: str
    samples: int
    drifted: bool
    champion: str | None = None


class Event(BaseModel):
    """One drift event.

    Attributes:
        event: its id, a hash of windows and champion.
        windows: the drifted windows that fired it, oldest first.
        champion: version that served.
        time: when it fired, with its time zone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    event: str
    windows: tuple[str, ...] = Field(min_length=1)
    champion: str | None
    time: Instant


class TriggerState(BaseModel):
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

    model_config = ConfigDict(extra="forbid", frozen=True)

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

    def to_json(self) -> dict[str, Any]:
        """Return the content of the state file."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TriggerState":
        """Read a state.

        Raises:
            InputError: it is damaged or of another schema version.
        """
        try:
            # Every version has written its number: a file without one is no state.
            return cls.model_validate({"schema_version": None, **content})
        except ValidationError as error:
            raise InputError(
                f"the state of the watch is damaged ({first_fault(error)}); move the file away to "
                "start again: every window then counts as new, and the champion keeps serving "
                "meanwhile"
            ) from error


@dataclass(frozen=True)
class Advice:
    """What to do now, and why.

    Attributes:
        action: nothing, wait, or reaudit.
        event: the event to act on.
        audit_windows: the windows that came after the event, for its audit.
        reason: one sentence.
        warnings: what looks wrong, one sentence each.
    """

    action: Action
    event: Event | None
    audit_windows: tuple[str, ...]
    reason: str
    warnings: tuple[str, ...] = ()


def advance(
    state: TriggerState, observations: Sequence[Observation], rules: TriggerRules, now: datetime
) -> tuple[TriggerState, Advice]:
    """Take in what monitoring observed and say what to do.

    Args:
        state: what is remembered.
        observations: all accepted windows, oldest first, known ones included.
        rules: when an event fires.
        now: the clock, UTC.

    Returns:
        The new state and the advice. An event stays pending until `conclude` is called, so a call
        that was killed in between is made up for by the next one.
    """
    state, warnings = _at(state, now)
    counted = [each for each in observations if each.samples >= rules.minimum_samples]
    new = [each for each in counted if each.window not in state.handled]
    for position, each in enumerate(counted):
        if each in new:
            state = _observe(state, counted[: position + 1], rules, now)
    if state.pending is None:
        return state, Advice(Action.NOTHING, None, (), _why_not(state, new, rules), warnings)
    event = state.pending
    later = tuple(each.window for each in _after(counted, event.windows[-1]))
    if not later and rules.later_window:
        reason = f"event {event.event} waits for a window after {event.windows[-1]}, for its audit"
        return state, Advice(Action.WAIT, event, (), reason, warnings)
    if state.waits_after is not None and not _after(counted, state.waits_after):
        reason = f"event {event.event} waits for more windows: {state.waits_for}"
        return state, Advice(Action.WAIT, event, later, reason, warnings)
    reason = f"{len(event.windows)} of the last {rules.windows} windows drifted: " + ", ".join(
        event.windows
    )
    return state, Advice(Action.REAUDIT, event, later, reason, warnings)


def conclude(state: TriggerState, event: Event, outcome: Mapping[str, Any]) -> TriggerState:
    """Record what came of an event; it is not acted on again."""
    outcomes = {**state.outcomes, event.event: dict(outcome)}
    ended = {"pending": None, "waits_after": None, "waits_for": "", "outcomes": outcomes}
    return state.model_copy(update=ended)


def abandon(state: TriggerState, event: Event, outcome: Mapping[str, Any]) -> TriggerState:
    """Record that an event cannot be judged; drift in the windows after it is a new event."""
    return conclude(state, event, outcome).model_copy(update={"armed": True})


def postpone(state: TriggerState, last_window: str, reason: str) -> TriggerState:
    """Leave the event pending until a window after the last that it was judged on has come."""
    return state.model_copy(update={"waits_after": last_window, "waits_for": reason})


def _at(state: TriggerState, now: datetime) -> tuple[TriggerState, tuple[str, ...]]:
    """Set the time of this call; where the clock went backwards, the cooldown starts again.

    So a clock that was wrong for a while neither skips a cooldown, by going back, nor makes it last
    longer than its hours after the clock is right.
    """
    before, last = state.latest, state.last_event
    state = state.model_copy(update={"latest": now.isoformat()})
    if before is None or now >= _instant(before):
        return state, ()
    if last is not None and _instant(last.time) > now:
        last = last.model_copy(update={"time": now.isoformat()})
        state = state.model_copy(update={"last_event": last})
    return state, (
        f"the clock went backwards: it is {now.isoformat()}, and the last call was at {before}; a "
        "cooldown that began after now starts again now, and windows keep the order of arrival",
    )


def _observe(
    state: TriggerState, seen: Sequence[Observation], rules: TriggerRules, now: datetime
) -> TriggerState:
    latest = seen[-1]
    calm = 0 if latest.drifted else state.calm + 1
    changed = state.last_event is not None and latest.champion != state.last_event.champion
    armed = state.armed or calm >= rules.rearm_after or changed
    handled = (*state.handled, latest.window)
    state = state.model_copy(update={"handled": handled, "calm": calm, "armed": armed})
    # Windows from before the last event have been acted on, or were before another champion.
    last = state.last_event
    since = (_after(seen, last.windows[-1]) if last else seen)[-rules.windows :]
    drifted = [each.window for each in since if each.drifted]
    fires = latest.drifted and armed and len(drifted) >= rules.drifted
    if not fires or state.pending is not None or _cooling(state, rules, now):
        return state
    content = {"windows": drifted, "champion": latest.champion}
    event = Event(
        event=canonical_hash(content)[:12],
        windows=tuple(drifted),
        champion=latest.champion,
        time=now.isoformat(),
    )
    return state.model_copy(update={"armed": False, "last_event": event, "pending": event})


def _after(seen: Sequence[Observation], window: str) -> Sequence[Observation]:
    names = [each.window for each in seen]
    return seen[names.index(window) + 1 :] if window in names else seen


def _cooling(state: TriggerState, rules: TriggerRules, now: datetime) -> bool:
    if state.last_event is None:
        return False
    return now - _instant(state.last_event.time) < timedelta(hours=rules.cooldown_hours)


def _why_not(state: TriggerState, new: Sequence[Observation], rules: TriggerRules) -> str:
    if not new:
        return "no new window"
    drifted = [each.window for each in new if each.drifted]
    if not drifted:
        return "no new window drifted"
    if not state.armed:
        return (
            f"drifted: {', '.join(drifted)}; this drift has been acted on, and a new event needs "
            f"{rules.rearm_after} calm windows in a row first"
        )
    return (
        f"drifted: {', '.join(drifted)}; an event needs {rules.drifted} of the last "
        f"{rules.windows} windows, and {rules.cooldown_hours:g} h since the last event"
    )
