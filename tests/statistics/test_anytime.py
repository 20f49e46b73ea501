import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.statistics.anytime import chance_to_reach, fail_budget, failing_draw, log_e_value


def test_budget_of_the_design():
    budget = fail_budget(0.1, 0.05, 50)
    assert budget.alpha_images == pytest.approx(0.0226, abs=1e-4)
    # A look at few draws asks the same question; more draws are a longer one.
    assert fail_budget(0.1, 0.05, 5) == budget
    assert fail_budget(0.1, 0.05, 200).alpha_images == pytest.approx(0.0145, abs=1e-4)


def test_draws_beyond_the_horizon_refuse_nothing():
    budget = fail_budget(0.1, 0.05, 50)
    assert failing_draw([False] * 50 + [True] * 500, budget) is None


@pytest.mark.parametrize("bad", [0.05, 0.15, 0.3, 0.45, 1.0])
def test_shared_images_refuse_an_acceptable_recipe_no_more_often_than_promised(bad):
    """On unlucky images every good draw is shown bad with chance ``bad``, on others none is."""
    budget = fail_budget(0.1, 0.05, 50)
    rng = np.random.default_rng(3)
    unlucky = rng.random(20000) < min(budget.alpha_images / bad, 1)
    shown = rng.random((20000, 50)) < 0.1 + 0.9 * np.where(unlucky, bad, 0)[:, None]
    refused = (np.cumsum(shown, axis=1) >= budget.boundary).any(axis=1)
    assert refused.mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 20000)
    if bad == 0.45:
        assert refused.mean() > 0.04, "the worst images come near the bound"


def test_hopeless_recipe_fails_after_four_draws():
    assert failing_draw([True] * 10, fail_budget(0.1, 0.05, 50)) == 4
    assert failing_draw([True] * 3, fail_budget(0.1, 0.05, 50)) is None


@pytest.mark.parametrize(("shown_bad", "draws"), [(0, 5), (3, 7), (9, 9), (20, 60)])
def test_e_value_is_the_mixture_integral(shown_bad, draws):
    q0 = 0.2

    def ratio(q):
        return (q / q0) ** shown_bad * ((1 - q) / (1 - q0)) ** (draws - shown_bad)

    expected = integrate.quad(ratio, q0, 1)[0] / (1 - q0)
    assert np.exp(log_e_value(shown_bad, draws, q0)) == pytest.approx(expected, rel=1e-6)


@given(
    shown_bad=st.integers(0, 40),
    rest=st.integers(0, 40),
    q=st.floats(0.0, 0.2),
)
def test_e_value_does_not_grow_on_average_under_the_hypothesis(shown_bad, rest, q):
    now = np.exp(log_e_value(shown_bad, shown_bad + rest, 0.2))
    after_bad = np.exp(log_e_value(shown_bad + 1, shown_bad + rest + 1, 0.2))
    after_good = np.exp(log_e_value(shown_bad, shown_bad + rest + 1, 0.2))
    assert q * after_bad + (1 - q) * after_good <= now * (1 + 1e-9)


def test_the_chance_to_reach_a_boundary_is_that_of_a_simulation():
    budget = fail_budget(0.1, 0.05, 200)
    rng = np.random.default_rng(1)
    for q in (0.1, 0.2, 0.3):
        counts = np.cumsum(rng.random((4000, 200)) < q, axis=1)
        seen = (counts >= budget.boundary).any(axis=1).mean()
        expected = float(chance_to_reach(budget.boundary, np.array([q]))[0])
        assert seen == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 4000))


@pytest.mark.parametrize("p0", [0.01, 0.1, 0.5, 0.79, 0.8, 0.9, 0.99])
@pytest.mark.parametrize("draws", [1, 50, 200])
def test_the_level_of_a_draw_is_one_of_a_test_whatever_may_be_bad(p0, draws):
    budget = fail_budget(p0, 0.05, draws)
    assert 0 < budget.alpha_images <= 0.05
    # The two ends of any law with this mean: images on which all good draws look bad, or none.
    reached = chance_to_reach(budget.boundary, np.array([p0, 1.0]))
    mixed = budget.alpha_images * reached[1] + (1 - budget.alpha_images) * reached[0]
    assert mixed <= 0.05 + 1e-9


def test_nearly_all_draws_may_be_bad():
    budget = fail_budget(0.9, 0.05, 50)
    assert failing_draw([True] * 50, budget) is None


def test_arguments_out_of_range_are_refused():
    with pytest.raises(InputError, match="alpha_fail=0"):
        fail_budget(0.1, 0.0, 50)
