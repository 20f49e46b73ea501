import numpy as np
import pytest

from ptq_pipeline.judgement.verdict import build_verdict
from ptq_pipeline.statistics.paired import rejection_region


def bound(world, policy, **changes):
    policy = policy.model_copy(update=changes)
    return build_verdict(world.scores, world.trials, world.index, policy)[0].tolerance


def test_fifty_good_draws_bound_nine_in_ten(build_world, policy):
    found = bound(build_world([0] * 50), policy)
    assert (found.share, found.draws, found.allowed) == (0.9, 50, 1)
    # The smallest judged groups have 250 samples: zero losses show ln(0.0164) / 250 = 1.6 points.
    assert 0.016 <= found.bound <= 0.0175
    assert found.by_level["class"] < found.by_level["intersection"] == found.bound
    assert "at least 90 % of all draws" in found.statement


def test_one_bad_draw_is_left_out_and_two_are_not(build_world, policy):
    one = bound(build_world([0] * 49 + [100]), policy)
    two = bound(build_world([0] * 48 + [100] * 2), policy)
    assert one.bound < 0.02
    assert two.bound > 0.2


def test_three_draws_say_less_about_fewer(build_world, policy):
    found = bound(build_world([0, 0, 3]), policy)
    assert (found.draws, found.allowed) == (3, 0)
    assert found.share == pytest.approx(0.33, abs=0.02)
    assert found.bound > 0.02


def test_failed_trials_lie_above_every_bound(build_world, policy):
    world = build_world([0] * 50)
    failed = world.trials.assign(status=np.where(world.trials["draw"] < 2, "failed", "done"))
    scores = world.scores[~world.scores["trial_id"].isin(["trial-00", "trial-01"])]
    found = build_verdict(scores, failed, world.index, policy)[0].tolerance
    assert found.bound == 1.0 and "no loss below" in found.statement


@pytest.mark.parametrize("n", [40, 250])
def test_what_is_below_a_bound_is_below_larger_ones(n):
    regions = [rejection_region(n, x, 0.0164).b_max for x in (0.05, 0.06, 0.08, 0.1, 0.15, 0.2)]
    for smaller, larger in zip(regions, regions[1:], strict=False):
        assert np.all(smaller <= larger)
