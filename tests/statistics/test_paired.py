import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.statistics.paired import rejection_region, shown_above, shown_below
from ptq_pipeline.statistics.tango import nuisance_points

deltas = st.floats(0.005, 0.3).flatmap(lambda d: st.sampled_from([d, -d]))
alphas = st.sampled_from([0.05, 0.0451, 0.001, 1e-5])


def largest_error(region):
    """Probability of rejection, maximised over a much finer grid than the code's own."""
    low, high = max(0.0, -region.delta), (1 - region.delta) / 2
    width = region.n * (high - low)
    steps = np.geomspace(1e-3, width, 400)
    inside = np.concatenate([[0, width], steps, width - steps]) / region.n + low
    grid = np.unique(np.clip(inside, low, high))
    points = nuisance_points(region.n, region.delta, grid, region.alpha * 1e-5)
    return points.tail(region.b_max[points.gained]).max()


@settings(max_examples=80, deadline=None)
@given(n=st.integers(5, 1500), delta=deltas, alpha=alphas)
def test_error_never_exceeds_alpha(n, delta, alpha):
    region = rejection_region(n, delta, alpha)
    assert region.size <= alpha
    assert largest_error(region) <= alpha * (1 + 1e-3)


@settings(max_examples=80, deadline=None)
@given(n=st.integers(1, 400), delta=st.floats(0.005, 0.5), alpha=alphas)
def test_zero_losses_pass_exactly_when_they_can(n, delta, alpha):
    region = rejection_region(n, delta, alpha)
    assert bool(region.rejects(0, 0)) == (n * np.log1p(-delta) <= np.log(alpha))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(5, 800), delta=deltas, alpha=alphas)
def test_region_grows_with_gains_and_stays_below_delta(n, delta, alpha):
    region = rejection_region(n, delta, alpha)
    gained = np.arange(n + 1)
    room = region.b_max < n - gained
    inner = np.flatnonzero(room[:-1] & room[1:])
    assert np.all(np.diff(region.b_max)[inner] >= 0)
    rejected = region.b_max >= 0
    assert np.all((region.b_max - gained)[rejected] < n * delta)


@pytest.mark.parametrize(
    ("n", "limits"),
    [
        (133, (6.0, 8.2, 10.6)),
        (250, (3.9, 5.0, 7.0)),
        (800, (1.6, 2.3, 3.5)),
        (8000, (0.4, 0.6, 1.0)),
    ],
)
def test_provable_limits(n, limits):
    """Smallest limit that is shown with 99.8 % power when 0.3 / 1 / 3 % of answers change."""
    for changed, expected in zip((0.003, 0.01, 0.03), limits, strict=True):
        low, high = 0.001, 0.3
        while high - low > 2e-4:
            middle = (low + high) / 2
            power = rejection_region(n, middle, 0.015).power(changed / 2, changed / 2)
            low, high = (low, middle) if power >= 0.998 else (middle, high)
        assert 100 * high == pytest.approx(expected, abs=0.15)


def test_power_agrees_with_simulation():
    region = rejection_region(300, 0.05, 0.05)
    rng = np.random.default_rng(0)
    gained = rng.binomial(300, 0.01, size=40_000)
    lost = rng.binomial(300 - gained, 0.02 / 0.99)
    assert region.rejects(lost, gained).mean() == pytest.approx(region.power(0.02, 0.01), abs=0.01)


def test_below_and_above_exclude_each_other():
    n, limit = np.array([200]), np.array([0.1])
    lost = np.arange(0, 200)[:, None]
    gained = np.zeros_like(lost)
    below = shown_below(lost, gained, n, limit, 0.05)[:, 0]
    above = shown_above(lost, gained, n, limit, 0.05)[:, 0]
    assert not np.any(below & above)
    assert below[0] and above[-1]
    # Each flips once: few losses are good, many are bad.
    assert np.count_nonzero(np.diff(below.astype(int))) == 1
    assert np.count_nonzero(np.diff(above.astype(int))) == 1


def test_above_is_the_mirror_of_below():
    lost, gained = np.array([[60]]), np.array([[4]])
    n, limit = np.array([300]), np.array([0.05])
    mirrored = rejection_region(300, -0.05, 0.01).rejects(gained, lost)
    assert shown_above(lost, gained, n, limit, 0.01) == mirrored


@pytest.mark.parametrize(
    "arguments", [(0, 0.1, 0.05), (10, 1.0, 0.05), (10, 0.1, 0.5), (10, 0.1, 0)]
)
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(InputError, match="Exact test needs"):
        rejection_region(*arguments)


def test_default_audit_is_quick():
    """80 group sizes up to 8,000 with two limits at two levels: well under 20 seconds."""
    sizes = np.unique(np.geomspace(20, 8000, 80).astype(int))
    rejection_region.cache_clear()
    start = time.process_time()
    for n in sizes:
        for limit in (0.04, 0.06):
            rejection_region(int(n), limit, 0.0451)
            rejection_region(int(n), -limit, 1e-5)
    assert time.process_time() - start < 20
