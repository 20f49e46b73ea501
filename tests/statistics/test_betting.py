import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.policy import class_shares
from ptq_pipeline.statistics.betting import (
    SHARES,
    STAKES,
    Units,
    clusters_needed,
    log_capital,
    resampled_below,
    units_above,
    units_below,
    units_interval,
    zero_losses_show,
)


def test_mixture_is_a_probability_over_stakes():
    assert SHARES.sum() == pytest.approx(1)
    assert STAKES.min() > 0 and STAKES.max() <= 1


def test_zero_losses_follow_the_exact_rule_but_for_the_mixture():
    exact = np.log(0.0451) / np.log1p(-0.04)
    assert exact < clusters_needed(0.04, 0.0451) < 1.4 * exact
    assert not zero_losses_show(np.ones(int(exact)), 0.04, 0.0451)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.floats(-1, 1)), min_size=1, max_size=30),
    st.floats(-0.9, 0.9),
    st.floats(0.01, 0.09),
)
def test_capital_grows_with_the_drop_under_test(pairs, delta, step):
    size = np.array([s for s, _ in pairs], dtype=float)
    units = Units.of(size, np.round(size * [d for _, d in pairs]))
    assert log_capital(units, delta + step) >= log_capital(units, delta) - 1e-9


def test_interval_holds_the_estimate_and_agrees_with_the_tests():
    units = Units.of(np.full(200, 4.0), np.repeat([0.0, 2.0], [160, 40]))
    low, high = units_interval(units, 0.05)
    assert low < units.drop < high < 0.25
    assert units_below(units, high + 1e-6, 0.025) and not units_below(units, high - 1e-3, 0.025)
    assert units_above(units, low - 1e-6, 0.025)


def test_size_of_the_test_holds_for_clusters_that_move_together():
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(1500):
        size = rng.integers(1, 9, 60).astype(float)
        net = size * (rng.random(60) < 0.1)  # a whole cluster is lost: drop 10 points
        units = Units.of(size, net)
        wrong += units_below(units, 0.1, 0.05)
    assert wrong / 1500 <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 1500)


def test_bad_sizes_are_refused():
    with pytest.raises(InputError, match="positive"):
        Units.of(np.array([1.0, 0.0]), np.zeros(2))
    with pytest.raises(InputError, match="exceeds"):
        Units.of(np.ones(2), np.array([0.0, 2.0]))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"bag": 1.0, "hat": 1.0}, "unknown class 'hat'"),
        ({"bag": 1.0}, "class 'boot' has no weight"),
        ({"bag": 1.0, "boot": -1.0}, "weight of 'boot' is -1.0"),
        ({"bag": 0.0, "boot": 0.0}, "at least 0, and one is larger"),
        ({"bag": float("nan"), "boot": 1.0}, "weight of 'bag'"),
    ],
)
def test_bad_mixes_are_refused(target, message):
    with pytest.raises(InputError, match=message):
        class_shares(target, ["boot", "bag"])


def test_resampled_audits_are_judged_as_audits_of_as_many_clusters():
    rng = np.random.default_rng(3)
    size = rng.integers(1, 5, 60).astype(float)
    size[0] = 4.0
    net = np.round(size * rng.choice([0.0, 0.5, 1.0, -1.0], (4, 60), p=[0.9, 0.04, 0.03, 0.03]))
    # As large a cluster as any is in every audit.
    count = np.column_stack([np.ones((5, 1)), rng.integers(0, 8, (5, 59))]).astype(float)
    for delta in (0.04, 0.08, 0.15):
        found = resampled_below(size, net, count, delta, 0.045)
        for audit, times in enumerate(count.astype(int)):
            for trial, own in enumerate(net):
                units = Units.of(np.repeat(size, times), np.repeat(own, times))
                assert found[audit, trial] == units_below(units, delta, 0.045)
