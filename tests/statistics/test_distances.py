import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.statistics.distances import (
    category_shares,
    distance,
    jensen_shannon,
    js_divergence,
    ks_distance,
    normed_wasserstein,
    output_divergence,
)

COUNTS = st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any)


@given(seed=st.integers(0, 10_000), shift=st.floats(0, 2))
def test_ks_distance_at_every_reference_value_is_scipys(seed, shift):
    generator = np.random.default_rng(seed)
    values, reference = generator.normal(shift, 1, 40), generator.normal(0, 1, 60)
    edges = np.sort(np.concatenate([values, reference]))
    cdf = np.searchsorted(np.sort(reference), edges, side="right") / 60
    assert ks_distance(values, edges, cdf) == pytest.approx(ks_2samp(values, reference).statistic)


def test_ks_distance_at_some_quantiles_never_exceeds_the_exact_one():
    generator = np.random.default_rng(0)
    values, reference = generator.normal(0.3, 1, 256), np.sort(generator.normal(0, 1, 4000))
    edges = np.quantile(reference, np.arange(1, 50) / 50, method="inverted_cdf")
    cdf = np.searchsorted(reference, edges, side="right") / 4000
    exact = ks_2samp(values, reference).statistic
    assert exact - 0.03 < ks_distance(values, edges, cdf) <= exact


@given(first=COUNTS, second=COUNTS)
def test_js_divergence_is_scipys_distance_squared(first, second):
    p, q = np.array(first) / sum(first), np.array(second) / sum(second)
    divergence = float(js_divergence(p, q))
    assert divergence == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-9)
    assert divergence == pytest.approx(float(js_divergence(q, p)), abs=1e-12)
    assert 0 <= divergence <= 1


def test_js_divergence_of_disjoint_shares_is_one():
    assert float(js_divergence([1, 0], [0, 1])) == 1.0


def test_unknown_category_is_counted_as_other():
    shares = category_shares(["a", "b", "a", "z"], ["a", "b", "c"])
    np.testing.assert_allclose(shares, [0.5, 0.25, 0, 0.25])


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


def test_divergence_is_zero_for_equal_outputs_and_grows():
    logits = np.random.default_rng(1).normal(size=(100, 5))
    groups = np.repeat(["a", "b"], 50)
    changed = logits.copy()
    changed[groups == "b"] *= 0.5
    found = output_divergence(logits, changed, groups).set_index("group")
    assert found.loc["a", "mean"] == 0 and found.loc["b", "mean"] > 0
    assert found.loc["b", "largest"] >= found.loc["b", "mean"]
    # A constant added to all logits of a sample changes no output.
    assert output_divergence(logits, logits + 3, groups)["largest"].max() < 1e-12


def test_logits_that_were_not_kept_are_an_error():
    logits = np.zeros((2, 2))
    with pytest.raises(InputError, match="the quantized ones were not kept"):
        output_divergence(logits, None, np.array(["a", "b"]))
    with pytest.raises(InputError, match="must agree"):
        output_divergence(logits, logits[:1], np.array(["a", "b"]))
