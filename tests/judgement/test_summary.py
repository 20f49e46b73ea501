import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.grouping import build_groups
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.judgement.building import build_verdict
from ptq_pipeline.judgement.summary import group_components
from ptq_pipeline.statistics.paired import rejection_region

IDS = np.arange(400)
SAMPLES = pd.DataFrame({"sample_id": IDS, "split": "audit", "label": IDS % 2}).assign(
    tone=np.where(IDS % 4 < 2, "dark", "light")
)
GROUPS = build_groups(SAMPLES, ("boot", "bag"), {"tone": ("dark", "light")})
FLOAT = SAMPLES[["sample_id"]].assign(shift="clean", predicted=SAMPLES["label"])


def answers(name, wrong):
    predicted = np.where(wrong, 1 - SAMPLES["label"], SAMPLES["label"])
    return FLOAT.assign(trial_id=name, predicted=predicted)


def found(*parts, **options):
    names = [part["trial_id"].iloc[0] for part in parts]
    rows = group_components(Outcomes.pair(pd.concat(parts), FLOAT, GROUPS), names, **options)
    return {each.group: each for each in rows}


def test_boots_differ_by_draw_and_bags_by_image():
    boots, bags = IDS % 2 == 0, IDS % 2 == 1
    always = bags & (IDS < 100)
    here = found(
        answers("a", always), answers("b", always | boots & (IDS < 200)), answers("c", always)
    )
    assert set(here) == {"all", "boot", "bag", "tone=dark", "tone=light"}
    assert (here["bag"].n, here["bag"].draws) == (200, 3)
    # The same bags are lost in every draw: the next draw loses them too, other images may differ.
    assert here["bag"].sd_between_draws == here["bag"].draw_share == 0
    assert here["bag"].sd_between_image_sets == pytest.approx(np.sqrt(0.25 * 0.75 / 199), rel=1e-6)
    assert here["boot"].draw_share > 0.9


def test_only_chosen_groups_and_no_spread_of_one_draw():
    nobody = np.zeros(len(IDS), bool)
    one = answers("a", nobody)
    assert found(one) == {}
    assert set(found(one, answers("b", nobody), only=[("class", "bag")])) == {"bag"}


def bound(world, policy, **changes):
    policy = policy.model_copy(update=changes)
    return build_verdict(world.scores, world.trials, world.index, policy)[0].tolerance


def test_fifty_good_draws_bound_nine_in_ten(build_world, policy):
    found = bound(build_world([0] * 50), policy)
    assert (found.share, found.draws, found.allowed) == (0.9, 50, 0)
    # The smallest judged groups have 250 samples: zero losses show ln(0.0451) / 250 = 1.2 points.
    assert 0.012 <= found.bound <= 0.0135
    assert found.by_level["class"] < found.by_level["intersection"] == found.bound
    assert "at least 90 % of all draws" in found.statement


def test_one_bad_draw_is_left_out_and_two_are_not(build_world, policy):
    policy = policy.model_copy(update={"draws": 60})
    one = bound(build_world([0] * 59 + [100]), policy)
    two = bound(build_world([0] * 58 + [100] * 2), policy)
    assert one.bound < 0.02
    assert two.bound > 0.2


def test_three_draws_say_less_about_fewer(build_world, policy):
    found = bound(build_world([0, 0, 3]), policy)
    assert (found.draws, found.allowed) == (3, 0)
    assert found.share == pytest.approx(0.33, abs=0.02)
    assert found.bound > 0.02


def test_failed_trials_lie_above_every_bound(build_world, policy):
    world = build_world([0] * 50)
    failed = world.trials.assign(status=np.where(world.trials["draw"] < 1, "failed", "done"))
    scores = world.scores[world.scores["trial_id"] != "trial-00"]
    found = build_verdict(scores, failed, world.index, policy)[0].tolerance
    assert found.bound == 1.0 and "no loss below" in found.statement


@pytest.mark.parametrize("n", [40, 250])
def test_what_is_below_a_bound_is_below_larger_ones(n):
    regions = [rejection_region(n, x, 0.0451).b_max for x in (0.05, 0.06, 0.08, 0.1, 0.15, 0.2)]
    for smaller, larger in zip(regions, regions[1:], strict=False):
        assert np.all(smaller <= larger)
