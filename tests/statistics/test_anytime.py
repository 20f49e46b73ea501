import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.statistics.anytime import fail_budget, failing_draw, log_e_value


def test_budget_of_the_design():
    budget = fail_budget(0.1, 0.05)
    assert (budget.margin, budget.alpha_sequence) == (0.1, 0.025)
    assert budget.alpha_images == pytest.approx(0.0025)
    assert budget.total_error == pytest.approx(0.05)


def test_hopeless_recipe_fails_after_four_draws():
    assert failing_draw([True] * 10, fail_budget(0.1, 0.05)) == 4
    assert failing_draw([True] * 3, fail_budget(0.1, 0.05)) is None


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


def test_sequence_error_with_looking_after_every_draw():
    budget = fail_budget(0.1, 0.05)
    rng = np.random.default_rng(1)
    threshold = -np.log(budget.alpha_sequence)
    draws = np.arange(1, 201)
    e_values = np.array(
        [[log_e_value(s, int(n), 0.2) for s in range(n + 1)] + [0] * (200 - n) for n in draws]
    )
    shown_bad = np.cumsum(rng.random((4000, 200)) < 0.2, axis=1)
    crossed = (e_values[draws - 1, shown_bad] >= threshold).any(axis=1)
    assert crossed.mean() <= budget.alpha_sequence


def test_margin_shrinks_for_a_large_p0():
    budget = fail_budget(0.9, 0.05)
    assert budget.p0 + budget.margin < 1
    assert budget.total_error == pytest.approx(0.05)


def test_arguments_out_of_range_are_refused():
    with pytest.raises(InputError, match="alpha_fail=0"):
        fail_budget(0.1, 0.0)
