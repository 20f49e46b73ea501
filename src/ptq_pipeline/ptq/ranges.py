"""Range estimators: which interval of reals the integers of a tensor shall cover.

Each is a small frozen object with a name in the field, and works on weights directly and on a
layer's input through its statistics. The range it returns always holds zero after
`ptq_pipeline.ptq.quantizer.choose_qparams`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.quantizer import IntegerScheme, choose_qparams, dequantize, quantize
from ptq_pipeline.ptq.statistics import (
    HistogramGrid,
    HistogramStatistics,
    InputStatistics,
)

# Shares of the observed range that `mse` tries, as in the code of BRECQ but down to a twentieth:
# at 2 bits the best share of a long-tailed input lies below its 0.2.
SHARES = torch.arange(100, 4, -1, dtype=torch.float64) / 100
TINY = float(np.finfo(np.float64).tiny)

Range = tuple[float, float]


class RangeEstimator(ABC):
    """What every range estimator offers."""

    name: ClassVar[str]
    needs_histogram: ClassVar[bool] = True

    @abstractmethod
    def weight_range(self, weights: Tensor, scheme: IntegerScheme) -> tuple[Tensor, Tensor]:
        """Return minimum and maximum, float ``(G,)``, for each row of ``(G, n)`` weights."""

    @abstractmethod
    def input_range(self, statistics: InputStatistics, scheme: IntegerScheme) -> Range:
        """Return minimum and maximum for a layer's input."""


@dataclass(frozen=True)
class MinMax(RangeEstimator):
    """The smallest and the largest value seen: nothing is clipped, outliers widen the scale."""

    name: ClassVar[str] = "minmax"
    needs_histogram: ClassVar[bool] = False

    def weight_range(self, weights: Tensor, scheme: IntegerScheme) -> tuple[Tensor, Tensor]:
        """Return minimum and maximum, float ``(G,)``, for each row of ``(G, n)`` weights."""
        return weights.amin(1), weights.amax(1)

    def input_range(self, statistics: InputStatistics, scheme: IntegerScheme) -> Range:
        """Return minimum and maximum for a layer's input."""
        return statistics.minimum, statistics.maximum


@dataclass(frozen=True)
class MovingAverageMinMax(MinMax):
    """Exponential moving average of each batch's minimum and maximum: ``r <- r + c (r_b - r)``.

    As TensorFlow and torch observe activations (Jacob et al., CVPR 2018, section 3.1). It depends
    on the order of the batches. Weights are seen once, so for them it is `MinMax`.

    Raises:
        InputError: the constant c is not above 0 and at most 1; 1 keeps the last batch only.
    """

    name: ClassVar[str] = "moving_average_minmax"
    constant: float = 0.01

    def __post_init__(self) -> None:
        if not 0.0 < self.constant <= 1.0:
            raise InputError(
                f"moving_average_minmax: the constant must be above 0 and at most 1, got "
                f"{self.constant}"
            )

    def input_range(self, statistics: InputStatistics, scheme: IntegerScheme) -> Range:
        """Return minimum and maximum for a layer's input."""
        batches = statistics.per_batch
        if not batches:
            raise InputError(f"the range estimator {self.name!r} needs the range of each batch")
        low, high = batches[0]
        for batch_low, batch_high in batches[1:]:
            low += self.constant * (batch_low - low)
            high += self.constant * (batch_high - high)
        return low, high


@dataclass(frozen=True)
class Percentile(RangeEstimator):
    """Cut both tails: the percentiles ``100 - p`` and ``p`` of the values; 100 is `MinMax`.

    With a symmetric scheme the percentile ``p`` of the absolute values. Inputs are read from the
    histogram, so a bound is exact to one bin (1/2046 of the range).

    Raises:
        InputError: p is not above 50 and at most 100.
    """

    name: ClassVar[str] = "percentile"
    percentile: float = 99.99

    def __post_init__(self) -> None:
        if not 50.0 < self.percentile <= 100.0:
            raise InputError(f"percentile must be above 50 and at most 100, got {self.percentile}")

    def weight_range(self, weights: Tensor, scheme: IntegerScheme) -> tuple[Tensor, Tensor]:
        """Return minimum and maximum, float ``(G,)``, for each row of ``(G, n)`` weights."""
        rows = weights.double().cpu().numpy()
        if scheme.symmetric:
            bound = torch.from_numpy(np.percentile(np.abs(rows), self.percentile, axis=1))
            return -bound, bound
        low, high = np.percentile(rows, [100.0 - self.percentile, self.percentile], axis=1)
        return torch.from_numpy(low), torch.from_numpy(high)

    def input_range(self, statistics: InputStatistics, scheme: IntegerScheme) -> Range:
        """Return minimum and maximum for a layer's input."""
        histogram = _histogram_of(statistics, self.name)
        tail = 1.0 - self.percentile / 100.0
        low = max(_quantile(histogram, tail), statistics.minimum)
        high = min(_quantile(histogram, 1.0 - tail), statistics.maximum)
        return min(low, high), max(low, high)


class _Searched(RangeEstimator):
    """One search over shares of the observed range, for whatever cost."""

    def input_range(self, statistics: InputStatistics, scheme: IntegerScheme) -> Range:
        """Return the range that costs least: both ends together, then each end alone."""
        histogram = self._seen(statistics)
        hit = histogram.counts > 0
        values = torch.from_numpy(histogram.grid.centers[hit])
        counts = torch.from_numpy(histogram.counts[hit]).double()
        low = min(statistics.minimum, 0.0)
        high = max(statistics.maximum, 0.0)

        def best(lows: Tensor, highs: Tensor) -> Range:
            """Return the best of the candidates; the widest one on ties."""
            qparams = choose_qparams(lows, highs, scheme)
            scale = qparams.scale.double()[:, None]
            zero_point = qparams.zero_point.double()[:, None]
            codes = torch.round(values[None, :] / scale).add_(zero_point)
            codes = codes.clamp_(scheme.qmin, scheme.qmax)
            rounded = (codes - zero_point).mul_(scale)
            index = int(self._loss(rounded, codes, values, counts, scheme).argmin())
            return float(lows[index]), float(highs[index])

        best_low, best_high = best(low * SHARES, high * SHARES)
        if low < 0.0 < high and not scheme.symmetric:
            highs = high * SHARES
            best_low, best_high = best(torch.full_like(highs, best_low), highs)
            lows = low * SHARES
            best_low, best_high = best(lows, torch.full_like(lows, best_high))
        return best_low, best_high

    def _seen(self, statistics: InputStatistics) -> HistogramStatistics:
        return _histogram_of(statistics, self.name)

    @abstractmethod
    def _loss(
        self, rounded: Tensor, codes: Tensor, values: Tensor, counts: Tensor, scheme: IntegerScheme
    ) -> Tensor:
        """Return each candidate's cost; ``rounded`` and ``codes`` are ``(candidates, bins)``."""


class _SearchedByRow(_Searched):
    """The same search for weights, row by row, without histograms."""

    def weight_range(self, weights: Tensor, scheme: IntegerScheme) -> tuple[Tensor, Tensor]:
        """Return for each row of ``(G, n)`` weights the share of its range that costs least."""
        low, high = weights.amin(1), weights.amax(1)
        best = torch.full_like(low, float("inf"))
        best_low, best_high = low.clone(), high.clone()
        for share in SHARES.tolist():
            qparams = choose_qparams(low * share, high * share, scheme)
            found = self._row_loss(dequantize(quantize(weights, qparams), qparams), weights)
            better = found < best
            best = torch.where(better, found, best)
            best_low = torch.where(better, low * share, best_low)
            best_high = torch.where(better, high * share, best_high)
        return best_low, best_high

    @abstractmethod
    def _row_loss(self, rounded: Tensor, weights: Tensor) -> Tensor:
        """Return the cost of each row, ``(G,)``; ``rounded`` may be changed."""


@dataclass(frozen=True)
class Mse(_SearchedByRow):
    """The range with the smallest error ``sum |x_hat - x|^p``, by search over shares of min-max.

    The field calls it ``mse`` for every p. Published code (BRECQ, Li et al., ICLR 2021; QDrop, Wei
    et al., ICLR 2022) uses p = 2.4 and shrinks both ends together; p = 2 is the mean squared error.
    Here both ends are shrunk together to 100 %, 99 %, ... 5 % of the observed range, and an
    asymmetric input with values on both sides of zero has each end refined once more alone.
    Inputs are represented by the bins of their histogram.

    Raises:
        InputError: p is not positive.
    """

    name: ClassVar[str] = "mse"
    p: float = 2.4

    def __post_init__(self) -> None:
        if not 0.0 < self.p < float("inf"):
            raise InputError(f"mse: the exponent p must be positive, got {self.p}")

    def _row_loss(self, rounded: Tensor, weights: Tensor) -> Tensor:
        return rounded.sub_(weights).abs_().pow_(self.p).sum(1)

    def _loss(
        self, rounded: Tensor, codes: Tensor, values: Tensor, counts: Tensor, scheme: IntegerScheme
    ) -> Tensor:
        return rounded.sub(values[None, :]).abs_().pow_(self.p) @ counts


@dataclass(frozen=True)
class Cosine(_SearchedByRow):
    """The range with the largest cosine ``<x, x_hat> / (|x| |x_hat|)``, by the search of `Mse`.

    As in EasyQuant (Wu et al., arXiv 2006.16669) and many toolkits. It does not see a common factor
    of all values, so it clips more readily than `Mse`.
    """

    name: ClassVar[str] = "cosine"

    def _row_loss(self, rounded: Tensor, weights: Tensor) -> Tensor:
        return -torch.nn.functional.cosine_similarity(rounded, weights, dim=1)

    def _loss(
        self, rounded: Tensor, codes: Tensor, values: Tensor, counts: Tensor, scheme: IntegerScheme
    ) -> Tensor:
        product = rounded @ (values * counts)
        length = (rounded.square() @ counts).sqrt()
        return -product / length.clamp(min=1e-300)


@dataclass(frozen=True)
class Entropy(_Searched):
    """The range with the smallest Kullback-Leibler divergence ``KL(P || Q)`` of histograms.

    Migacz, 8-bit Inference with TensorRT, GTC 2017. P: the histogram with what lies outside the
    range counted at the range's ends. Q: the histogram inside the range, with the counts of the
    bins of one code spread evenly over those of them that were hit. Ranges as in `Mse`; a range
    that leaves a hit bin of P without mass in Q counts the smallest positive float there. Weights
    are few per channel, so their histograms have 256 bins.

    Half of what leaves a ReLU is zero. One code for one bin of zeros would be the best fit, so the
    range would shrink to as many bins as there are codes; the bin of zero therefore counts no more
    than the larger of its neighbours, as in NVIDIA's pytorch-quantization, but for the share
    ``zero`` of the zeros beyond that.

    Raises:
        InputError: the share is not from 0 to 1.
    """

    name: ClassVar[str] = "entropy"
    zero: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.zero <= 1.0:
            raise InputError(f"entropy: zero must be from 0 to 1, got {self.zero}")

    def weight_range(self, weights: Tensor, scheme: IntegerScheme) -> tuple[Tensor, Tensor]:
        """Return minimum and maximum, float ``(G,)``, for each row of ``(G, n)`` weights."""
        found = [self.input_range(_statistics_of(row), scheme) for row in weights]
        low, high = torch.tensor(found, dtype=torch.float64).T
        return low, high

    def _seen(self, statistics: InputStatistics) -> HistogramStatistics:
        """Return the histogram with the bin of zero lowered."""
        histogram = super()._seen(statistics)
        grid, counts = histogram.grid, histogram.counts.copy()
        place = int(np.rint(-grid.low / grid.width - 0.5))
        beside = counts[[*range(max(place - 1, 0), place), *range(place + 1, len(counts))[:1]]]
        counts[place] -= round(
            (1.0 - self.zero) * max(0, int(counts[place] - beside.max(initial=1)))
        )
        return HistogramStatistics(grid, counts)

    def _loss(
        self, rounded: Tensor, codes: Tensor, values: Tensor, counts: Tensor, scheme: IntegerScheme
    ) -> Tensor:
        losses = [
            _divergence(row.long() - scheme.qmin, inside, counts, scheme)
            for row, inside in zip(codes, _inside(rounded, codes, values, scheme), strict=True)
        ]
        return torch.stack(losses)


ESTIMATORS: dict[str, type] = {
    estimator.name: estimator
    for estimator in (MinMax, MovingAverageMinMax, Percentile, Mse, Entropy, Cosine)
}


def _inside(rounded: Tensor, codes: Tensor, values: Tensor, scheme: IntegerScheme) -> Tensor:
    """Return which values no end of the range cuts: rounding moves them by half a scale at most."""
    at_end = (codes == scheme.qmin) | (codes == scheme.qmax)
    used = codes.amax(1) - codes.amin(1)
    scale = (rounded.amax(1) - rounded.amin(1)) / used.clamp(min=1.0)
    return ~at_end | ((rounded - values[None, :]).abs() <= 0.5 * scale[:, None] * (1 + 1e-9))


def _divergence(codes: Tensor, inside: Tensor, counts: Tensor, scheme: IntegerScheme) -> Tensor:
    """Return ``KL(P || Q)`` of one candidate; see `Entropy`."""
    bins = torch.arange(len(codes))[inside]
    if not len(bins):
        return torch.tensor(float("inf"), dtype=torch.float64)
    kept = counts[inside]
    reference = kept.clone()
    # What is cut lies beyond the first or the last bin inside, as values are in rising order.
    reference[0] += counts[: int(bins[0])].sum()
    reference[-1] += counts[int(bins[-1]) + 1 :].sum()
    levels = scheme.qmax - scheme.qmin + 1
    total = torch.zeros(levels, dtype=torch.float64).index_add_(0, codes[inside], kept)
    width = torch.bincount(codes[inside], minlength=levels).double()
    spread = (total / width.clamp(min=1.0))[codes[inside]]
    p, q = reference / reference.sum(), spread / spread.sum()
    return (p * (p / q.clamp(min=TINY)).log()).sum()


def _statistics_of(row: Tensor) -> InputStatistics:
    low, high = float(row.min()), float(row.max())
    grid = HistogramGrid.covering(low, high, 256)
    first = np.floor((row.double().numpy() - grid.low) / grid.width).astype(int)
    counts = np.bincount(first.clip(0, grid.bins - 1), minlength=grid.bins)
    return InputStatistics(low, high, histogram=HistogramStatistics(grid, counts.astype(np.int64)))


def _histogram_of(statistics: InputStatistics, name: str) -> HistogramStatistics:
    if statistics.histogram is None:
        raise InputError(f"the range estimator {name!r} needs histograms: make the second pass")
    return statistics.histogram


def _quantile(histogram: HistogramStatistics, share: float) -> float:
    """Return the value below which ``share`` of the counted values lie, linear within its bin."""
    cumulative = np.cumsum(histogram.counts)
    target = share * cumulative[-1]
    index = int(np.searchsorted(cumulative, target, side="left"))
    before = cumulative[index] - histogram.counts[index]
    inside = (target - before) / max(int(histogram.counts[index]), 1)
    return float(histogram.grid.low + (index + inside) * histogram.grid.width)
