import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ptq_pipeline.statistics.draws import false_pass_bound, smallest_passing_draws, split_budget
from ptq_pipeline.statistics.sampling import (
    EVERYTHING,
    Sampling,
    cheapest_share,
    sample_p_value,
    share_to_sample,
)


def test_without_samples_the_bound_is_the_old_one():
    p = np.linspace(0, 1, 11)
    assert np.allclose(EVERYTHING.few_open(50, 2, p), stats.binom.cdf(2, 50, p))
    assert split_budget(50, 0.1, 0.05, Sampling(50, 0.3)) != split_budget(50, 0.1, 0.05)
    assert split_budget(50, 0.1, 0.05, Sampling(50, 0.3)).alpha_image == pytest.approx(
        split_budget(50, 0.1, 0.05).alpha_image
    )


def test_three_in_ten_samples_may_err_where_no_draw_may_stay_open():
    split = split_budget(50, 0.1, 0.05, Sampling(2, 0.3))
    assert split.allowed == 0
    # In the closed form of k = 0 the envelope is q + (1 - q) alpha_image.
    q = 0.9**2 * 0.93**48
    assert split.alpha_image == pytest.approx((0.05 - q) / (1 - q), rel=1e-3)
    assert split.alpha_image > 0.025


@pytest.mark.parametrize(("full", "error"), [(0, 0.1), (2, 0.2), (5, 0.3)])
def test_the_smallest_number_of_draws_that_can_pass(full, error):
    sampling = Sampling(full, error)
    least = smallest_passing_draws(0.1, 0.05, sampling)
    assert split_budget(least, 0.1, 0.05, sampling).pass_possible
    assert not split_budget(least - 1, 0.1, 0.05, sampling).pass_possible


@settings(max_examples=30, deadline=None)
@given(
    full=st.integers(0, 4),
    error=st.floats(0.01, 0.4),
    allowed=st.integers(0, 2),
    p=st.floats(0.05, 0.6),
    missed=st.floats(0.0, 1.0),
)
def test_the_bound_is_reached_by_an_adversary_and_never_exceeded(full, error, allowed, p, missed):
    """Bad images show every bad draw good; on the others samples err as often as they may."""
    draws, sampling, rng = 40, Sampling(full, error), np.random.default_rng(1)
    alpha_image, times = missed, 4000
    unlucky = rng.random(times) < alpha_image
    bad = rng.random((times, draws)) < p
    taken = np.zeros((times, draws), bool)
    taken[:, full:] = rng.random((times, draws - full)) < error
    not_good = (bad & ~taken & ~unlucky[:, None]).sum(axis=1)
    rate = float((not_good <= allowed).mean())
    bound = false_pass_bound(draws, allowed, alpha_image, p, sampling)
    assert rate <= bound + 4 * np.sqrt(0.25 / times)


@settings(max_examples=25, deadline=None)
@given(
    losses=st.integers(1, 60),
    hits_share=st.floats(0.02, 0.6),
    error=st.sampled_from([0.05, 0.2, 0.3]),
    uneven=st.booleans(),
)
def test_hidden_losses_are_missed_no_more_often_than_promised(losses, hits_share, error, uneven):
    rng, times = np.random.default_rng(losses), 4000
    share = np.full(losses, hits_share)
    if uneven:
        # Some images are sampled with a larger probability than the smallest one.
        share[::2] = min(1.0, 2 * hits_share)
    seen = (rng.random((times, losses)) < share).sum(axis=1)
    p = sample_p_value(seen, np.full(times, losses - 1), np.full(times, hits_share))
    assert (p <= error).mean() <= error + 3 * np.sqrt(error * (1 - error) / times)


def test_a_sample_of_the_planned_share_shows_a_cell_without_losses():
    room = np.arange(0, 400)
    for losses in (0, 1, 3):
        share = share_to_sample(room, 0.2, losses)
        shown = sample_p_value(np.full(400, losses), room, share) <= 0.2
        assert shown[room >= losses].all()
        less = sample_p_value(np.full(400, losses), room, 0.98 * share)
        assert (less[room > losses] > 0.2).all()


def test_where_nothing_can_be_lost_everything_is_looked_at_and_where_all_may_be_nothing():
    assert cheapest_share([-1, 0], [100, 100], 0.2).tolist() == [1.0, pytest.approx(0.8)]
    assert cheapest_share([100], [100], 0.2).tolist() == [0.0]
