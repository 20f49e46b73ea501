import numpy as np
import pytest

from ptq_pipeline.reliability import fail_budget, split_budget
from ptq_pipeline.reliability.stopping import DrawState, draw_state, settled

GOOD, BAD, OPEN, LATER = (
    DrawState.SHOWN_GOOD,
    DrawState.SHOWN_BAD,
    DrawState.OPEN,
    DrawState.UNFINISHED,
)
SPLIT, BUDGET = split_budget(50, 0.1, 0.05), fail_budget(0.1, 0.05)


def look(states):
    return settled(states, SPLIT, BUDGET)


def test_an_obvious_failure_is_settled_after_four_draws():
    assert look([BAD] * 4 + [LATER] * 46).result == "FAIL"
    assert look([BAD] * 9).after == 4
    assert look([BAD] * 3 + [LATER] * 47).result is None


def test_pass_is_settled_when_the_rest_cannot_change_it():
    assert look([GOOD] * 49 + [LATER]).after == 49
    assert look([GOOD] * 48 + [LATER] * 2).result is None
    assert look([GOOD] * 20 + [OPEN] + [GOOD] * 29).after == 50


def test_what_stands_behind_an_unfinished_draw_is_not_looked_at():
    assert look([BAD] * 3 + [LATER] + [BAD] * 30) == look([BAD] * 3)


def test_open_draws_exclude_pass_and_settle_nothing():
    found = look([OPEN] * 2 + [GOOD] * 48)
    assert (found.result, found.pass_excluded) == (None, True)
    assert settled([GOOD] * 50, SPLIT, BUDGET, blocked=True).result is None
    assert settled([GOOD] * 5, split_budget(5, 0.1, 0.05), BUDGET).pass_excluded


@pytest.mark.parametrize("seed", range(5))
def test_finishing_order_does_not_change_what_settles(seed):
    rng = np.random.default_rng(seed)
    truth = [[GOOD, BAD, OPEN][i] for i in rng.choice(3, size=50, p=[0.6, 0.35, 0.05])]
    final = look(truth)
    states = [LATER] * 50
    for draw in rng.permutation(50):
        states[draw] = truth[draw]
        found = look(states)
        if found.result is not None:
            assert (found.result, found.after) == (final.result, final.after)


def test_a_draw_is_as_good_as_its_worst_group():
    assert draw_state([GOOD, GOOD]) is GOOD
    assert draw_state([GOOD, OPEN]) is OPEN
    assert draw_state([OPEN, LATER, GOOD]) is LATER
    assert draw_state([LATER, BAD]) is BAD
    assert draw_state([]) is LATER
