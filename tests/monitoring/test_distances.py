import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from ptq_pipeline.monitoring.distances import distance, jensen_shannon, normed_wasserstein

numbers = st.lists(st.floats(-1e3, 1e3, allow_nan=False), min_size=1, max_size=40)
categories = st.lists(st.sampled_from("abcde"), min_size=1, max_size=40)


@given(numbers, numbers)
def test_wasserstein_equals_scipy(first: list[float], second: list[float]) -> None:
    expected = wasserstein_distance(first, second) / max(np.std(first), 0.001)
    observed = distance("wasserstein", pd.Series(first), pd.Series(second))
    assert observed == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(categories, categories)
def test_jensen_shannon_equals_scipy(first: list[str], second: list[str]) -> None:
    shares = [pd.Series(part).value_counts() for part in (first, second)]
    support = sorted({*first, *second})
    expected = jensenshannon(*(part.reindex(support, fill_value=0) for part in shares))
    observed = distance("jensenshannon", pd.Series(first), pd.Series(second))
    # Near zero the square root turns rounding errors of 1e-17 into 1e-8.
    assert observed == pytest.approx(expected, abs=1e-7)


def test_values_worked_out_by_hand() -> None:
    # One of four values moves by 4, standard deviation sqrt(1.25): 4 / 4 / sqrt(1.25).
    observed = distance("wasserstein", pd.Series([0, 1, 2, 3]), pd.Series([4, 1, 2, 3]))
    assert observed == pytest.approx(1 / np.sqrt(1.25))
    assert jensen_shannon(np.array([1.0, 0]), np.array([0, 5.0])) == pytest.approx(
        np.sqrt(np.log(2))
    )


def test_weights_are_shares() -> None:
    support = np.array([0.0, 1.0, 5.0])
    before, after = np.array([1.0, 2, 3]), np.array([3.0, 2, 1])
    assert normed_wasserstein(support, before, after) == pytest.approx(
        normed_wasserstein(support, before * 10, after * 3)
    )


def test_a_constant_reference_does_not_divide_by_zero() -> None:
    assert distance("wasserstein", pd.Series([2.0, 2.0]), pd.Series([2.5])) == pytest.approx(500)


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(ValueError, match="'ks'"):
        distance("ks", pd.Series([1]), pd.Series([1]))
