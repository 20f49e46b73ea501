"""Range estimators: which interval of reals the integers of a tensor shall cover.

Each is a small frozen object with a name in the field, and works on weights directly and on a
layer's input through its statistics. The range it returns always holds zero after
`ptq_pipeline.ptq.quantizer.choose_qparams`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from ptq_pipeline.errors import InputError
from ptq_pipeline.ptq.quantizer import IntegerScheme, choose_qparams, dequantize, quantize
from ptq_pipeline.ptq.statistics import HistogramStatistics, InputStatistics

# Shares of the observed range that `mse` tries, as in the code of BRECQ but down to a twentieth:
# at 2 bits the best share of a long-tailed input lies below its 0.2.
SHARES = torch.arange(100, 4, -1, dtype=torch.float64) / 100


class RangeEstimator(Protocol):
    """What every range estimator offers."""

    name: ClassVar[str]
    needs_histogram: ClassVar[bool]

    def weight_range(self, weights: Tensor, scheme: IntegerScheme) -> tuple[Tensor, Tensor]:
        """Return minimum and maximum, float ``(G,)``, for each row of ``(G, n)`` weights."""
        ...

    def input_range(
        self, statistics: InputStatistics, scheme: IntegerScheme
    ) -> tuple[float, float]:
        """Return minimum and maximum for a layer's input."""
        ...


@dataclass(frozen=True)
class MinMax:
    """The smallest and the largest value seen: nothing is clipped, outliers widen the step."""

    name: ClassVar[str] = "minmax"
    needs_histogram: ClassVar[bool] = False

    def weight_range(self, weights: Tensor, scheme: IntegerScheme) -> tuple[Tensor, Tensor]:
        """Return minimum and maximum, float ``(G,)``, for each row of ``(G, n)`` weights."""
        return weights.amin(1), weights.amax(1)

    def input_range(
        self, statistics: InputStatistics, scheme: IntegerScheme
    ) -> tuple[float, float]:
        """Return minimum and maximum for a layer's input."""
        return statistics.ranges.minimum, statistics.ranges.maximum


@dataclass(frozen=True)
class Percentile:
    """Cut both tails: the percentiles ``100 - p`` and ``p`` of the values.

    With a symmetric scheme the percentile ``p`` of the absolute values. Inputs are read from the
    histogram, so a bound is exact to one bin (1/2046 of the range).

    Attributes:
        percentile: p, above 50 and at most 100; 100 is `MinMax`.

    Raises:
        InputError: p is out of range.
    """

    name: ClassVar[str] = "percentile"
    needs_histogram: ClassVar[bool] = True
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

    def input_range(
        self, statistics: InputStatistics, scheme: IntegerScheme
    ) -> tuple[float, float]:
        """Return minimum and maximum for a layer's input."""
        histogram = _histogram_of(statistics, self.name)
        tail = 1.0 - self.percentile / 100.0
        ranges = statistics.ranges
        low = max(_quantile(histogram, tail), ranges.minimum)
        high = min(_quantile(histogram, 1.0 - tail), ranges.maximum)
        return min(low, high), max(low, high)


@dataclass(frozen=True)
class Mse:
    """The range with the smallest error ``sum |x_hat - x|^p``, by search over shares of min-max.

    The field calls it ``mse`` for every p. Published code (BRECQ, Li et al., ICLR 2021; QDrop, Wei
    et al., ICLR 2022) uses p = 2.4 and shrinks both ends together; p = 2 is the mean squared error.
    Here both ends are shrunk together to 100 %, 99 %, ... 5 % of the observed range, and an
    asymmetric input with values on both sides of zero has each end refined once more alone.
    Inputs are represented by the bins of their histogram.

    Attributes:
        p: exponent of the error, positive.

    Raises:
        InputError: p is not positive.
    """

    name: ClassVar[str] = "mse"
    needs_histogram: ClassVar[bool] = True
    p: float = 2.4

    def __post_init__(self) -> None:
        if not 0.0 < self.p < float("inf"):
            raise InputError(f"mse: the exponent p must be positive, got {self.p}")

    def weight_range(self, weights: Tensor, scheme: IntegerScheme) -> tuple[Tensor, Tensor]:
        """Return minimum and maximum, float ``(G,)``, for each row of ``(G, n)`` weights."""
        low, high = weights.amin(1), weights.amax(1)
        best = torch.full_like(low, float("inf"))
        best_low, best_high = low.clone(), high.clone()
        for share in SHARES.tolist():
            qparams = choose_qparams(low * share, high * share, scheme)
            error = dequantize(quantize(weights, qparams), qparams).sub_(weights)
            loss = error.abs_().pow_(self.p).sum(1)
            better = loss < best
            best = torch.where(better, loss, best)
            best_low = torch.where(better, low * share, best_low)
            best_high = torch.where(better, high * share, best_high)
        return best_low, best_high

    def input_range(
        self, statistics: InputStatistics, scheme: IntegerScheme
    ) -> tuple[float, float]:
        """Return minimum and maximum for a layer's input."""
        histogram = _histogram_of(statistics, self.name)
        hit = histogram.counts > 0
        values = torch.from_numpy(histogram.grid.centers[hit])
        counts = torch.from_numpy(histogram.counts[hit]).double()
        low = min(statistics.ranges.minimum, 0.0)
        high = max(statistics.ranges.maximum, 0.0)
        best_low, best_high = self._best(low * SHARES, high * SHARES, values, counts, scheme)
        if low < 0.0 < high and not scheme.symmetric:
            highs = high * SHARES
            best_low, best_high = self._best(
                torch.full_like(highs, best_low), highs, values, counts, scheme
            )
            lows = low * SHARES
            best_low, best_high = self._best(
                lows, torch.full_like(lows, best_high), values, counts, scheme
            )
        return best_low, best_high

    def _best(
        self, lows: Tensor, highs: Tensor, values: Tensor, counts: Tensor, scheme: IntegerScheme
    ) -> tuple[float, float]:
        """Return the candidate with the smallest weighted error; the widest one on ties."""
        qparams = choose_qparams(lows, highs, scheme)
        scale = qparams.scale.double()[:, None]
        zero_point = qparams.zero_point.double()[:, None]
        codes = torch.round(values[None, :] / scale).add_(zero_point)
        codes = codes.clamp_(scheme.qmin, scheme.qmax)
        error = codes.sub_(zero_point).mul_(scale).sub_(values[None, :]).abs_()
        index = int((error.pow_(self.p) @ counts).argmin())
        return float(lows[index]), float(highs[index])


ESTIMATORS: dict[str, type[MinMax] | type[Percentile] | type[Mse]] = {
    estimator.name: estimator for estimator in (MinMax, Percentile, Mse)
}


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
