from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.statistics.draws import (
    draws_for_pass,
    false_pass_bound,
    share_of_good_draws,
    split_budget,
)


def test_published_example_of_the_design():
    split = split_budget(50, 0.1, 0.05)
    assert split.allowed == 0
    assert split.alpha_draw == pytest.approx(0.9**50)
    assert false_pass_bound(50, 1, 0.015, 0.1) == pytest.approx(0.049, abs=5e-4)
    assert split.alpha_image == pytest.approx(0.0451, abs=1e-4)
    assert split.total_error <= 0.05 + 1e-12


def test_all_shown_good_has_the_closed_form():
    q = 0.9**30
    assert false_pass_bound(30, 0, 0.01, 0.1) == pytest.approx(q + (1 - q) * 0.01, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_more_draws_leave_more_to_the_images_or_room_for_one_more(alpha):
    splits = [split_budget(draws, 0.1, alpha) for draws in range(30, 301)]
    for fewer, more in pairwise(each for each in splits if each.pass_possible):
        if more.allowed == fewer.allowed:
            assert more.alpha_image > fewer.alpha_image
        else:
            assert more.allowed == fewer.allowed + 1
            assert more.alpha_image >= 0.7 * alpha


@settings(max_examples=40, deadline=None)
@given(
    draws=st.integers(5, 80),
    allowed=st.integers(0, 3),
    p_bad=st.floats(0.05, 0.9),
    alpha=st.floats(0.001, 0.05),
    shares=st.tuples(st.floats(0.0, 0.99), st.floats(0.01, 1.0)),
)
def test_no_law_of_image_errors_with_the_right_mean_exceeds_the_bound(
    draws, allowed, p_bad, alpha, shares
):
    """Two-point laws of ``a(D)``: ``high`` on unlucky images, ``low`` on the others."""
    low, high = shares[0] * alpha, alpha + shares[1] * (1 - alpha)
    weight = (alpha - low) / (high - low)
    passes = stats.binom.cdf(allowed, draws, p_bad * (1 - np.array([low, high])))
    mixed = (1 - weight) * passes[0] + weight * passes[1]
    assert mixed <= false_pass_bound(draws, allowed, alpha, p_bad) + 2e-4


def test_markov_bound_is_looser():
    bad = np.arange(2, 51)
    mass = stats.binom.pmf(bad, 50, 0.1)
    markov = stats.binom.cdf(1, 50, 0.1) + np.sum(mass * np.minimum(1, 0.015 * bad / (bad - 1)))
    assert false_pass_bound(50, 1, 0.015, 0.1) < markov == pytest.approx(0.053, abs=5e-4)


@pytest.mark.parametrize("draws", [30, 50, 60, 100, 200])
def test_total_error_stays_within_alpha_and_is_used(draws):
    split = split_budget(draws, 0.1, 0.05)
    assert split.alpha_image >= 0.005
    assert (
        max(
            false_pass_bound(draws, split.allowed, split.alpha_image, p)
            for p in (0.1, 0.11, 0.2, 0.5, 1)
        )
        <= 0.05 + 1e-9
    )
    assert false_pass_bound(draws, split.allowed, 1.01 * split.alpha_image, 0.1) > 0.05


def test_few_draws_cannot_pass_and_say_how_many_could():
    split = split_budget(3, 0.1, 0.05)
    assert not split.pass_possible
    assert split.needed_draws == 30
    assert split_budget(30, 0.1, 0.05).alpha_image >= 0.005
    assert not split_budget(29, 0.1, 0.05).pass_possible


def test_what_few_draws_do_show():
    # g**3 + (1 - g**3) * 0.015 = 0.05
    expected = ((0.05 - 0.015) / (1 - 0.015)) ** (1 / 3)
    assert share_of_good_draws(3, 0, 0.015, 0.05) == pytest.approx(expected, abs=1e-3)
    assert share_of_good_draws(3, 3, 0.015, 0.05) == 0


def test_pass_and_statement_agree():
    split = split_budget(50, 0.1, 0.05)
    assert share_of_good_draws(50, 0, split.alpha_image, 0.05) == pytest.approx(0.9, abs=1e-3)
    assert share_of_good_draws(50, 2, split.alpha_image, 0.05) < 0.9


def test_more_draws_help_only_below_p0():
    assert draws_for_pass(0.12, 0.1, 0.05) is None
    needed = draws_for_pass(0.04, 0.1, 0.05)
    assert needed is not None and needed > 50
    assert np.ceil(0.04 * needed) <= split_budget(needed, 0.1, 0.05).allowed


def test_arguments_out_of_range_are_refused():
    with pytest.raises(InputError, match="draws=0"):
        split_budget(0, 0.1, 0.05)
