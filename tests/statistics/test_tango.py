import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from ptq_pipeline.statistics.tango import largest_rejected_loss, nuisance_points, tango_score


def test_nothing_changed_has_the_hand_value():
    # b = c = 0 puts the restricted p_gained at 0: T = -n d / sqrt(n d (1 - d)).
    assert tango_score(0, 0, 400, 0.01) == pytest.approx(-np.sqrt(400 * 0.01 / 0.99))


def test_zero_delta_is_the_mcnemar_statistic():
    assert tango_score(15, 5, 100, 0.0) == pytest.approx((15 - 5) / np.sqrt(15 + 5))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(20, 400),
    shares=st.tuples(st.floats(0.01, 0.3), st.floats(0.01, 0.3)),
    delta=st.floats(-0.3, 0.3),
)
def test_agrees_with_a_numerical_restricted_likelihood(n, shares, delta):
    lost, gained = max(1, int(n * shares[0])), max(1, int(n * shares[1]))

    def negative(q):
        same = 1 - 2 * q - delta
        return -(lost * np.log(q + delta) + gained * np.log(q) + (n - lost - gained) * np.log(same))

    low, high = max(0.0, -delta), (1 - delta) / 2
    found = optimize.minimize_scalar(
        negative, bounds=(low + 1e-12, high - 1e-12), method="bounded", options={"xatol": 1e-12}
    )
    expected = (lost - gained - n * delta) / np.sqrt(n * (2 * found.x + delta * (1 - delta)))
    assert tango_score(lost, gained, n, delta) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(5, 300), delta=st.floats(-0.4, 0.4), data=st.data())
def test_rises_with_losses_and_falls_with_gains(n, delta, data):
    lost = data.draw(st.integers(0, n - 1))
    gained = data.draw(st.integers(0, n - 1 - lost))
    here = tango_score(lost, gained, n, delta)
    assert tango_score(lost + 1, gained, n, delta) >= here - 1e-9
    assert tango_score(lost, gained + 1, n, delta) <= here + 1e-9


@pytest.mark.parametrize(("delta", "p_gained"), [(0.1, 0.02), (0.1, 0.4), (-0.05, 0.2), (0.0, 0.1)])
def test_tail_is_the_sum_over_the_trinomial(delta, p_gained):
    n = 25
    largest = np.minimum(np.arange(n + 1) // 2, n)
    law = stats.multinomial(n, [p_gained + delta, p_gained, 1 - 2 * p_gained - delta])
    expected = sum(
        law.pmf([b, c, n - b - c]) for c in range(n + 1) for b in range(min(largest[c], n - c) + 1)
    )
    points = nuisance_points(n, delta, np.array([p_gained]), 1e-12)
    assert points.tail(largest[points.gained])[0] == pytest.approx(expected, abs=1e-9)


def test_truncation_never_understates():
    n, largest = 500, np.full(501, 20)
    rough = nuisance_points(n, 0.05, np.array([0.02]), 1e-2)
    fine = nuisance_points(n, 0.05, np.array([0.02]), 1e-14)
    assert rough.tail(largest[rough.gained])[0] >= fine.tail(largest[fine.gained])[0]


@settings(deadline=None)
@given(
    st.sampled_from([1, 5, 133, 800, 8000]),
    st.floats(-0.5, 0.9),
    st.floats(-7, 1),
    st.integers(0, 300),
)
def test_the_largest_rejected_loss_is_the_last_one_within_its_critical_value(n, delta, t, gained):
    gained = np.array([min(gained, n)])
    most = int(min(n - gained[0], max(np.floor(n * delta) + gained[0], -1)))
    inside = tango_score(np.arange(most + 1), gained[0], n, delta) <= t
    assert largest_rejected_loss(gained, n, delta, t)[0] == np.count_nonzero(inside) - 1
