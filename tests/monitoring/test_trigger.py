from datetime import UTC, datetime, timedelta

import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.monitoring.history import WindowRecord
from ptq_pipeline.monitoring.parameters import TriggerRules
from ptq_pipeline.monitoring.trigger import Action, TriggerState

NOW = datetime(2027, 1, 1, tzinfo=UTC)
RULES = TriggerRules(windows=3, drifted=2, minimum_samples=100, rearm_after=2, cooldown_hours=24)


def windows(text, champion="v1", samples=500):
    """`d` is a drifted window, `c` a calm one."""
    return [
        record(f"w{number:02d}", samples, letter == "d", champion)
        for number, letter in enumerate(text)
    ]


def record(window, n, drifted, champion):
    return WindowRecord(window=window, status="accepted", n=n, drifted=drifted, champion=champion)


def play(text, rules=RULES, hours=48):
    """Let windows arrive one by one; return the number of those at which an event fired."""
    state, fired = TriggerState(), []
    for number in range(1, len(text) + 1):
        now = NOW + timedelta(hours=hours * number)
        state, advice = state.advanced(windows(text[:number]), rules, now)
        if advice.action is Action.REAUDIT:
            fired.append(number)
            state = state.concluded(advice.event, {"action": "recorded"})
    return fired


@pytest.mark.parametrize(
    ("text", "fired"),
    [
        ("ccccc", []),
        ("ccdcc", []),
        ("cdccd", []),
        ("cdd", [3]),
        ("dcd", [3]),
        ("dddddddd", [2]),
        ("ddcdcdcdd", [2]),
        ("ddccdd", [2, 6]),
    ],
)
def test_k_of_n_fires_once_and_only_calm_windows_arm_it_again(text, fired):
    assert play(text) == fired


def test_no_second_event_within_the_cooldown():
    assert play("ddccdd", hours=1) == [2]


def test_another_champion_is_watched_at_once():
    state, advice = TriggerState().advanced(windows("dd"), RULES, NOW)
    state = state.concluded(advice.event, {})
    seen = [*windows("dd"), *(record(f"x{n}", 500, True, "v2") for n in range(2))]
    _, advice = state.advanced(seen, RULES, NOW + timedelta(hours=48))
    assert advice.action is Action.REAUDIT
    assert advice.event.windows == ("x0", "x1")


def test_small_windows_count_for_nothing():
    assert TriggerState().advanced(windows("ddd", samples=99), RULES, NOW)[1].action == "nothing"


def test_a_killed_call_is_made_up_for():
    state, first = TriggerState().advanced(windows("dd"), RULES, NOW)
    state = TriggerState.read(state.to_json())
    _, second = state.advanced(windows("dd"), RULES, NOW + timedelta(minutes=5))
    assert second.action is Action.REAUDIT
    assert second.event == first.event


def test_a_later_window_is_waited_for_and_preferred():
    rules = TriggerRules(windows=2, drifted=2, minimum_samples=1, later_window=True)
    state, advice = TriggerState().advanced(windows("dd"), rules, NOW)
    assert advice.action is Action.WAIT
    _, advice = state.advanced(windows("ddc"), rules, NOW)
    assert advice.action is Action.REAUDIT
    assert advice.audit_windows == ("w02",)


def test_an_event_that_could_not_be_judged_is_judged_again_when_another_window_has_come():
    state, advice = TriggerState().advanced(windows("dd"), RULES, NOW)
    state = state.postponed("w01", "of boot it has 12 images and needs about 90")
    state = TriggerState.read(state.to_json())
    state, advice = state.advanced(windows("dd"), RULES, NOW)
    assert advice.action is Action.WAIT
    assert "boot" in advice.reason
    state, advice = state.advanced(windows("ddd"), RULES, NOW)
    assert advice.action is Action.REAUDIT
    assert (advice.event.windows, advice.audit_windows) == (("w00", "w01"), ("w02",))
    state = state.postponed("w02", "still too few")
    assert state.advanced(windows("ddd"), RULES, NOW)[1].action is Action.WAIT
    state, advice = state.advanced(windows("dddc"), RULES, NOW)
    assert advice.audit_windows == ("w02", "w03")
    state = state.concluded(advice.event, {"action": "recorded"})
    assert (state.pending, state.waits_after) == (None, None)
    assert state.advanced(windows("dddc"), RULES, NOW)[1].action is Action.NOTHING


def test_without_waiting_the_windows_of_the_event_are_divided():
    _, advice = TriggerState().advanced(windows("dd"), RULES, NOW)
    assert advice.audit_windows == ()


def test_a_clock_that_goes_backwards_is_reported_and_skips_no_cooldown():
    state, advice = TriggerState().advanced(windows("dd"), RULES, NOW)
    state = state.concluded(advice.event, {})
    earlier = NOW - timedelta(days=365)
    state, advice = state.advanced(windows("ddccdd"), RULES, earlier)
    assert "the clock went backwards" in advice.warnings[0]
    assert advice.action is Action.NOTHING
    state, advice = state.advanced(windows("ddccddd"), RULES, earlier + timedelta(hours=25))
    assert (advice.action, advice.warnings) == (Action.REAUDIT, ())


@pytest.mark.parametrize("text", ["d", "dd"])
def test_one_call_under_a_clock_of_the_far_future_costs_one_cooldown_at_most(text):
    future = NOW.replace(year=2199)
    state, advice = TriggerState().advanced(windows(text), RULES, future)
    if advice.event is not None:
        state = state.concluded(advice.event, {})
    state, advice = state.advanced(windows(text), RULES, NOW)
    assert "the clock went backwards" in advice.warnings[0]
    seen = windows(text + "ccdd")
    assert state.advanced(seen, RULES, NOW + timedelta(hours=25))[1].action is Action.REAUDIT


def test_an_event_whose_windows_are_gone_makes_room_for_the_next():
    state, advice = TriggerState().advanced(windows("dd"), RULES, NOW)
    state = state.abandoned(advice.event, {"action": "set aside"})
    later = NOW + timedelta(hours=25)
    state, advice = state.advanced(windows("ddd"), RULES, later)
    assert advice.action is Action.NOTHING, "the windows that are gone fire nothing more"
    _, advice = state.advanced(windows("dddd"), RULES, later)
    assert advice.event.windows == ("w02", "w03")


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"schema_version": 9},
        {"schema_version": 1, "x": 2},
        {**TriggerState().to_json(), "latest": "soon"},
        {**TriggerState().to_json(), "latest": "2027-01-01T00:00:00"},
    ],
)
def test_a_damaged_state_is_an_error_with_a_way_out(content):
    with pytest.raises(InputError, match="move the file away"):
        TriggerState.read(content)
