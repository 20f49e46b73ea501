import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp

from ptq_pipeline.calibration.distances import category_shares, js_divergence, ks_distance

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
