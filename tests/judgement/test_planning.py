import json

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.judgement.planning import early_pass_price, plan_budget, samples_to_decide
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.statistics.paired import rejection_region

COUNTS = pd.DataFrame(
    [("average", "all", 8000), ("class", "boot", 800), ("class", "bag", 40)],
    columns=["level", "group", "n"],
)


def plan(policy, draws=50, **changes):
    changed = Policy.model_validate({**policy.to_json(), **changes})
    return plan_budget(COUNTS, changed, ["clean", "noise"], draws)


ALLOWED = [{"level": "class", "group": "bag"}]


def test_fifty_draws_can_pass_and_say_what_they_show(policy):
    found = plan(policy, allow_not_judged=ALLOWED)
    assert found.can_pass and found.obstacles == ()
    assert "at least 90 % of draws are good" in found.best
    boot = found.groups[1]
    assert boot.judged and boot.power[0] > 0.999
    assert boot.provable == pytest.approx(0.0039, abs=2e-4)
    assert found.cheapest_draws == 30


def test_three_draws_cannot(policy):
    found = plan(policy, draws=3)
    assert not found.can_pass
    assert any("30 can" in sentence for sentence in found.obstacles)
    assert "3 good of 3 draws show" in found.best


def test_limits_that_no_sample_can_show_are_named(policy):
    found = plan(policy, critical=[{"level": "class", "group": "bag"}])
    bag = found.groups[2]
    assert not bag.judged and bag.power is None and bag.provable > bag.limit
    assert any("class bag is critical, and its 40 samples" in text for text in found.obstacles)


def test_a_class_that_cannot_be_judged_is_an_obstacle_unless_it_is_allowed_by_name(policy):
    (text,) = plan(policy).obstacles
    assert "class bag has 40 images and needs 61 for 5.0 points" in text
    assert "worst_case_check.allow_not_judged" in text
    allowed = plan(policy, allow_not_judged=ALLOWED)
    assert allowed.groups[2].left_out and not allowed.groups[2].blocks


def test_a_class_without_an_image_is_planned_too(policy):
    counts = pd.concat([COUNTS, pd.DataFrame([("class", "hat", 0)], columns=COUNTS.columns)])
    found = plan_budget(counts, policy, ["clean"], 50)
    assert found.groups[3].provable == 1.0
    assert any("class hat has 0 images" in text for text in found.obstacles)


def test_clusters_need_more_images_than_single_ones(policy):
    pairs = {("class", "boot"): np.full(400, 2.0), ("average", "all"): np.full(40, 200.0)}
    found = plan_budget(COUNTS, policy, ["clean"], 50, pairs)
    average, boot = found.groups[:2]
    assert boot.judged and boot.needed_n > plan(policy).groups[1].needed_n
    assert not average.judged and average.blocks
    # `kedro ptq plan --json` writes it.
    assert json.loads(json.dumps(found.to_json()))["groups"][0]["judged"] is False


def test_an_earlier_look_has_a_price():
    price = early_pass_price(60, 0.1, 0.05)
    assert 30 < price.look_at < 60
    assert price.allowed < price.allowed_without
    assert early_pass_price(30, 0.1, 0.05) is None


def test_planned_samples_decide_most_of_the_time():
    n = samples_to_decide(lost=12, gained=6, n=300, limit=0.04, alpha=0.05)
    power = rejection_region(n, 0.04, 0.05).power(12 / 300, 6 / 300)
    assert n > 300
    assert 0.8 < power < 0.97


def test_more_samples_than_there_are():
    assert samples_to_decide(lost=0, gained=0, n=500, limit=0.5, alpha=0.05) > 500


def test_drop_at_its_limit_is_finite():
    assert np.isfinite(samples_to_decide(lost=20, gained=0, n=500, limit=0.04, alpha=0.05))
