import numpy as np
import pytest
import torch

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import IntegerScheme
from ptq_pipeline.ptq.quantizer import choose_qparams, fake_quantize
from ptq_pipeline.ptq.ranges import Cosine, Entropy, MinMax, MovingAverageMinMax, Mse, Percentile
from ptq_pipeline.ptq.statistics import (
    HistogramGrid,
    HistogramStatistics,
    InputStatistics,
)


def _statistics(values: np.ndarray) -> InputStatistics:
    ends = float(values.min()), float(values.max())
    grid = HistogramGrid.covering(*ends)
    edges = grid.low + np.arange(grid.bins + 1) * grid.width
    counts = np.histogram(values, edges)[0]
    return InputStatistics(*ends, histogram=HistogramStatistics(grid, counts))


def _error(values: np.ndarray, low: float, high: float, scheme: IntegerScheme, p: float) -> float:
    x = torch.from_numpy(values.astype(np.float32))
    qparams = choose_qparams(torch.tensor(low), torch.tensor(high), scheme)
    return float((fake_quantize(x, qparams) - x).abs().pow(p).mean())


@pytest.fixture(params=["two-sided", "relu", "skewed"])
def values(request: pytest.FixtureRequest) -> np.ndarray:
    generator = np.random.default_rng(5)
    heavy = generator.standard_t(3, 50_000)
    if request.param == "relu":
        return np.maximum(heavy, 0.0)
    return heavy if request.param == "two-sided" else np.exp(heavy.clip(-4, 4)) - 0.5


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("p", [2.0, 2.4])
def test_mse_of_inputs_is_close_to_a_search_on_the_values(
    values: np.ndarray, bits: int, p: float
) -> None:
    scheme = IntegerScheme(bits, symmetric=False)
    low, high = Mse(p).input_range(_statistics(values), scheme)
    found = _error(values, low, high, scheme, p)
    shares = np.linspace(0.05, 1.0, 96)
    both = [_error(values, values.min() * s, values.max() * s, scheme, p) for s in shares]
    assert found <= 1.01 * min(both)
    assert found < _error(values, values.min(), values.max(), scheme, p) or bits == 8


def test_refining_each_end_helps_a_skewed_input() -> None:
    values = np.concatenate([np.linspace(-1, 8, 10_000), np.full(1, -9.0)])
    scheme = IntegerScheme(4, symmetric=False)
    low, high = Mse(2.0).input_range(_statistics(values), scheme)
    together = [_error(values, -9.0 * s, 8.0 * s, scheme, 2.0) for s in np.linspace(0.05, 1, 96)]
    assert _error(values, low, high, scheme, 2.0) < 0.6 * min(together)


@pytest.mark.parametrize("percentile", [90.0, 99.9, 100.0])
def test_percentile_of_inputs_is_exact_to_one_bin(values: np.ndarray, percentile: float) -> None:
    statistics = _statistics(values)
    found = Percentile(percentile).input_range(statistics, IntegerScheme(8, symmetric=False))
    assert statistics.histogram is not None
    width = statistics.histogram.grid.width
    ranked = np.sort(values)
    for bound, share in zip(found, (1 - percentile / 100, percentile / 100), strict=True):
        # In a thin tail neighbours lie far apart, and definitions differ by up to one rank.
        rank = share * (len(ranked) - 1)
        below, above = max(int(rank) - 1, 0), min(int(rank) + 2, len(ranked) - 1)
        assert ranked[below] - width <= bound <= ranked[above] + width


def test_minmax_is_the_range(values: np.ndarray) -> None:
    scheme = IntegerScheme(8, symmetric=False)
    expected = (float(values.min()), float(values.max()))
    assert MinMax().input_range(_statistics(values), scheme) == expected


def test_estimators_that_need_histograms_say_so() -> None:
    ranges_only = InputStatistics(0.0, 1.0)
    for estimator in (Percentile(), Mse()):
        with pytest.raises(InputError, match="needs histograms"):
            estimator.input_range(ranges_only, IntegerScheme(8, symmetric=False))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_weight_ranges_per_row(bits: int) -> None:
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(6, 90, generator=generator) * torch.arange(1, 7)[:, None]
    scheme = IntegerScheme(bits, symmetric=True)
    losses = {}
    for estimator in (MinMax(), Percentile(99.0), Mse(2.0)):
        low, high = estimator.weight_range(weights, scheme)
        assert low.shape == high.shape == (6,)
        qparams = choose_qparams(low, high, scheme)
        losses[estimator.name] = (fake_quantize(weights, qparams) - weights).square().sum(1)
    assert bool((losses["mse"] <= losses["minmax"]).all())
    low, high = Percentile(99.0).weight_range(weights, scheme)
    assert np.allclose(high, np.percentile(weights.abs().numpy(), 99.0, axis=1))
    low, high = Percentile(99.0).weight_range(weights, IntegerScheme(bits, symmetric=False))
    assert np.allclose(low, np.percentile(weights.numpy(), 1.0, axis=1))


def test_moving_average_follows_the_batches() -> None:
    statistics = InputStatistics(-4.0, 3.0, ((-1.0, 1.0), (-2.0, 3.0), (-4.0, 0.0)))
    low, high = MovingAverageMinMax(0.5).input_range(statistics, IntegerScheme(4, True))
    assert (low, high) == (-2.75, 1.0)
    with pytest.raises(InputError, match="needs the range of each batch"):
        MovingAverageMinMax().input_range(InputStatistics(0.0, 1.0), IntegerScheme(4, True))


@pytest.mark.parametrize("symmetric", [True, False])
def test_cosine_of_inputs_is_close_to_a_search_on_the_values(
    values: np.ndarray, symmetric: bool
) -> None:
    scheme = IntegerScheme(3, symmetric)

    def cosine(low: float, high: float) -> float:
        x = torch.from_numpy(values.astype(np.float32))
        qparams = choose_qparams(torch.tensor(low), torch.tensor(high), scheme)
        return float(torch.nn.functional.cosine_similarity(fake_quantize(x, qparams), x, dim=0))

    found = cosine(*Cosine().input_range(_statistics(values), scheme))
    shares = np.linspace(0.05, 1.0, 96)
    best = max(cosine(values.min() * share, values.max() * share) for share in shares)
    assert found >= best - 1e-3


def _divergence(values: np.ndarray, low: float, high: float, bits: int) -> float:
    """KL(P || Q) of TensorRT for values from zero, written from its description."""
    counts, edges = np.histogram(values, 2046, (0.0, values.max()))
    centers = (edges[:-1] + edges[1:]) / 2
    last = int(np.searchsorted(centers, high))
    p = counts[:last].astype(float)
    step = high / (2**bits - 1)
    codes = np.rint(centers[:last] / step).clip(0, 2**bits - 1)
    q = np.zeros(last)
    for code in np.unique(codes):
        mine = (codes == code) & (p > 0)
        q[mine] = p[mine].sum() / max(mine.sum(), 1)
    p[-1] += counts[last:].sum()
    q /= q.sum()
    p /= p.sum()
    hit = p > 0
    return float((p[hit] * np.log(p[hit] / np.maximum(q[hit], 1e-300))).sum())


def test_entropy_minimises_the_divergence_of_histograms() -> None:
    values = np.abs(np.random.default_rng(3).standard_t(3, 50_000)).clip(max=30.0)
    low, high = Entropy().input_range(_statistics(values), IntegerScheme(4, symmetric=False))
    assert low == 0.0
    found = _divergence(values, low, high, 4)
    best = min(_divergence(values, 0.0, values.max() * s, 4) for s in np.linspace(0.05, 1, 96))
    assert found <= 1.05 * best
    assert high < 0.7 * values.max()


def test_entropy_is_not_drawn_to_the_zeros_of_a_relu() -> None:
    values = np.random.default_rng(4).normal(size=50_000).clip(min=0.0)
    scheme = IntegerScheme(8, symmetric=False)
    _, high = Entropy().input_range(_statistics(values), scheme)
    assert high > 0.9 * values.max()
    # With all zeros counted, a code of its own for their bin is the best fit.
    _, drawn = Entropy(zero=1.0).input_range(_statistics(values), scheme)
    assert drawn < 0.55 * values.max()
    with pytest.raises(InputError, match="zero must be from 0 to 1, got 2"):
        Entropy(zero=2.0)


@pytest.mark.parametrize("estimator", [Entropy(), Cosine(), Mse(), Percentile(99.0)])
@pytest.mark.parametrize("symmetric", [True, False])
def test_constant_and_zero_values_have_a_range(estimator, symmetric: bool) -> None:
    scheme = IntegerScheme(2, symmetric)
    for constant in (0.0, 2.5, -1.0):
        low, high = estimator.input_range(_statistics(np.full(10, constant)), scheme)
        assert np.isfinite([low, high]).all() and low <= high
        rows = torch.full((3, 4), constant)
        lows, highs = estimator.weight_range(rows, scheme)
        assert bool(torch.isfinite(lows).all() and torch.isfinite(highs).all())
