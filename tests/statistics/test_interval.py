import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import CellKey
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.judging import cell_intervals
from ptq_pipeline.statistics.interval import drop_interval


@pytest.mark.parametrize(
    ("p_lost", "p_gained"), [(0.05, 0.05), (0.2, 0.02), (0.0, 0.1), (0.4, 0.3)]
)
def test_coverage_by_enumeration(p_lost, p_gained):
    n, alpha, covered = 20, 0.1, 0.0
    law = stats.multinomial(n, [p_lost, p_gained, 1 - p_lost - p_gained])
    for lost in range(n + 1):
        for gained in range(n + 1 - lost):
            probability = law.pmf([lost, gained, n - lost - gained])
            if probability > 1e-6:
                low, high = drop_interval(lost, gained, n, alpha)
                covered += probability * (low <= p_lost - p_gained <= high)
    assert covered >= 1 - alpha


@pytest.mark.parametrize("alpha", [0.1, 0.01])
@pytest.mark.parametrize(
    ("n", "p_lost", "p_gained"),
    [(12, 0.0, 0.3), (12, 0.2, 0.0), (30, 0.08, 0.0), (30, 0.1, 0.01), (30, 0.02, 0.15)],
)
def test_each_side_keeps_its_level_by_enumeration(n, p_lost, p_gained, alpha):
    law, above, below = stats.multinomial(n, [p_lost, p_gained, 1 - p_lost - p_gained]), 0.0, 0.0
    for lost in range(n + 1):
        for gained in range(n + 1 - lost):
            probability = law.pmf([lost, gained, n - lost - gained])
            if probability > 1e-7:
                low, high = drop_interval(lost, gained, n, alpha)
                above += probability * (p_lost - p_gained > high)
                below += probability * (p_lost - p_gained < low)
    assert max(above, below) <= alpha / 2


def test_gains_can_show_that_nothing_is_lost():
    assert drop_interval(2, 60, 800, 0.05 / 180)[1] < -0.03


def test_nothing_changed_is_bounded_by_the_rule_of_zero_losses():
    low, high = drop_interval(0, 0, 133, 0.05)
    # (1 - u)**133 = 0.025, apart from the share kept for the nuisance.
    assert high == pytest.approx(1 - 0.025 ** (1 / 133), rel=0.02)
    assert low == pytest.approx(-high)


def test_close_to_the_score_interval_for_large_counts():
    n, lost, gained = 5000, 400, 250
    low, high = drop_interval(lost, gained, n, 0.05)
    half = 1.96 * np.sqrt(lost + gained - (lost - gained) ** 2 / n) / n
    assert low == pytest.approx(0.03 - half, abs=0.0015)
    assert high == pytest.approx(0.03 + half, abs=0.0015)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(5, 300), data=st.data())
def test_holds_the_observed_drop_and_mirrors(n, data):
    lost = data.draw(st.integers(0, n))
    gained = data.draw(st.integers(0, n - lost))
    low, high = drop_interval(lost, gained, n, 0.05)
    assert -1 <= low <= (lost - gained) / n <= high <= 1
    assert drop_interval(gained, lost, n, 0.05) == (-high, -low)


def test_simultaneous_intervals_are_wider():
    n, yes = np.array([200, 200]), np.array([True, True])
    cells = Cells(tuple(CellKey("class", g, "clean") for g in "ab"), n, n / 4000, yes, yes)
    lost, gained = np.array([[10, 10]]), np.array([[4, 4]])
    counts = Counts(("t",), n, lost, gained, lost + gained, np.ones(2))
    together = cell_intervals(counts, cells, alpha=0.05)
    alone = drop_interval(10, 4, 200, 0.05)
    assert together.shape == (2, 2)
    assert together[0, 0] < alone[0] < alone[1] < together[0, 1]


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="do not fit n=10"):
        drop_interval(8, 3, 10, 0.05)
