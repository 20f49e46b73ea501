import pandas as pd
import pytest

from ptq_pipeline.reliability import Policy
from ptq_pipeline.reliability.budget import early_pass_price, plan_budget

COUNTS = pd.DataFrame(
    [("average", "all", 8000), ("class", "boot", 800), ("class", "bag", 40)],
    columns=["level", "group", "n"],
)


def plan(policy, draws=50, **changes):
    changed = Policy.model_validate({**policy.to_json(), **changes})
    return plan_budget(COUNTS, changed, ["clean", "noise"], draws)


def test_fifty_draws_can_pass_and_say_what_they_show(policy):
    found = plan(policy)
    assert found.can_pass and found.obstacles == ()
    assert "at least 93 % of draws are good" in found.best
    boot = found.groups[1]
    assert boot.judged and boot.power[0] > 0.999
    assert boot.provable == pytest.approx(0.005, abs=5e-4)
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


def test_an_earlier_look_has_a_price():
    price = early_pass_price(50, 0.1, 0.05)
    assert 30 < price["look_at"] < 50
    assert price["allowed"] < price["allowed_without"]
    assert early_pass_price(30, 0.1, 0.05) is None
