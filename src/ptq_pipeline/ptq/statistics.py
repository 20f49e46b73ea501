"""Statistics of what goes into each layer: ranges first, then histograms on a fixed grid.

Both kinds are small, know nothing of the images they came from, and can be merged, so a calibration
set can be streamed in batches of any size, or be put together from parts computed elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ptq_pipeline.errors import InputError
from ptq_pipeline.ptq.preparation import PreparedModel

DEFAULT_BINS = 2048
# torch.histc counts in float32, which holds every integer up to this one.
MOST_PER_COUNT = 2**24

# A sequence, or a function that starts a new pass; both can be gone through twice.
Batches: TypeAlias = Sequence[Tensor] | Callable[[], Iterable[Tensor]]


@dataclass(frozen=True)
class RangeStatistics:
    """Smallest and largest value of a layer's input.

    Attributes:
        minimum: smallest value seen.
        maximum: largest value seen.
        count: number of values seen.
        per_batch: minimum and maximum of each batch in the order seen, for moving averages; empty
            when they were not kept.
    """

    minimum: float
    maximum: float
    count: int
    per_batch: tuple[tuple[float, float], ...] = field(default=(), compare=False, repr=False)

    def merge(self, other: RangeStatistics) -> RangeStatistics:
        """Return the statistics of both parts together; but for `per_batch` in any order."""
        return RangeStatistics(
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.count + other.count,
            self.per_batch + other.per_batch,
        )


@dataclass(frozen=True)
class HistogramGrid:
    """Equal bins with zero in the middle of one, so that the zeros behind a ReLU stay exact.

    Attributes:
        low: left edge of the first bin.
        width: width of a bin, positive.
        bins: number of bins.
    """

    low: float
    width: float
    bins: int = DEFAULT_BINS

    @classmethod
    def covering(cls, ranges: RangeStatistics, bins: int = DEFAULT_BINS) -> HistogramGrid:
        """Return the grid over ``[min(minimum, 0), max(maximum, 0)]``; all zero gives width 1."""
        low, high = min(ranges.minimum, 0.0), max(ranges.maximum, 0.0)
        # Two bins fewer than there are: aligning zero may push one end out by up to a bin.
        width = (high - low) / (bins - 2)
        if not width > 0.0:
            return cls(-0.5, 1.0, bins)
        return cls(-(np.ceil(-low / width) + 0.5) * width, width, bins)

    @property
    def centers(self) -> np.ndarray:
        """Middle of each bin, float64 ``(bins,)``; one of them is zero."""
        first = np.rint(self.low / self.width + 0.5)
        return (first + np.arange(self.bins)) * self.width


@dataclass(frozen=True, eq=False)
class HistogramStatistics:
    """How often each bin of a grid was hit.

    Attributes:
        grid: the bins.
        counts: int64 ``(bins,)``; values outside the grid are counted in the outermost bins.
    """

    grid: HistogramGrid
    counts: np.ndarray

    def merge(self, other: HistogramStatistics) -> HistogramStatistics:
        """Return the histogram of both parts together.

        Raises:
            InputError: the grids differ.
        """
        if self.grid != other.grid:
            raise InputError(f"histograms on different grids: {self.grid} and {other.grid}")
        return HistogramStatistics(self.grid, self.counts + other.counts)


@dataclass(frozen=True, eq=False)
class InputStatistics:
    """What is known of one layer's input: its range, and its histogram when a method needs it."""

    ranges: RangeStatistics
    histogram: HistogramStatistics | None = None

    def merge(self, other: InputStatistics) -> InputStatistics:
        """Return the statistics of both parts together.

        Raises:
            InputError: one part has a histogram and the other has none, or the grids differ.
        """
        if (self.histogram is None) != (other.histogram is None):
            raise InputError("cannot merge statistics with a histogram and statistics without one")
        merged = None
        if self.histogram is not None and other.histogram is not None:
            merged = self.histogram.merge(other.histogram)
        return InputStatistics(self.ranges.merge(other.ranges), merged)


def collect_ranges(prepared: PreparedModel, batches: Batches) -> dict[str, RangeStatistics]:
    """Run the float model over the batches and return the range of every layer's input.

    Args:
        prepared: the model; hooks are set on it for the time of the call (not thread-safe).
        batches: float32 ``(n, C, H, W)`` tensors, values as the model takes them.

    Returns:
        One entry per layer, in call order.

    Raises:
        InputError: there are no batches, a batch is not float32, or a layer's input is not finite.
    """
    partial: dict[str, list[tuple[Tensor, Tensor, int]]] = {}

    def observe(name: str, values: Tensor) -> None:
        low, high = torch.aminmax(values)
        partial.setdefault(name, []).append((low, high, values.numel()))

    observe_inputs(prepared, batches, observe)
    found: dict[str, RangeStatistics] = {}
    for name, parts in partial.items():
        lows = torch.stack([part[0] for part in parts]).tolist()
        highs = torch.stack([part[1] for part in parts]).tolist()
        # A NaN anywhere must not get lost in Python's min.
        low, high = float(np.min(lows)), float(np.max(highs))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(
                f"layer {name!r}: its input holds NaN or infinite values on the calibration "
                "images; check the weights before this layer and the preprocessing"
            )
        count = sum(part[2] for part in parts)
        found[name] = RangeStatistics(low, high, count, tuple(zip(lows, highs, strict=True)))
    return _spread(prepared, found)


def collect_histograms(
    prepared: PreparedModel, batches: Batches, grids: Mapping[str, HistogramGrid]
) -> dict[str, HistogramStatistics]:
    """Run the float model over the batches and count every layer's input on its grid.

    Args:
        prepared: the model; hooks are set on it for the time of the call (not thread-safe).
        batches: the batches of the first pass, or others that use the same grids.
        grids: one grid per layer.

    Returns:
        One histogram per layer, in call order.

    Raises:
        InputError: there are no batches, or a batch is not float32.
    """
    counts: dict[str, Tensor] = {}

    def observe(name: str, values: Tensor) -> None:
        grid = grids[name]
        hits = count_values(values, grid)
        counts[name] = counts[name] + hits if name in counts else hits

    observe_inputs(prepared, batches, observe)
    found = {
        name: HistogramStatistics(grids[name], hits.cpu().numpy()) for name, hits in counts.items()
    }
    return _spread(prepared, found)


def collect_statistics(
    prepared: PreparedModel, batches: Batches, histograms: bool, bins: int = DEFAULT_BINS
) -> dict[str, InputStatistics]:
    """Return range statistics, and after a second pass histograms, of every layer's input.

    Args:
        prepared: the model.
        batches: float32 ``(n, C, H, W)`` tensors that can be gone through twice.
        histograms: whether to make the second pass.
        bins: bins of each histogram.

    Returns:
        One entry per layer, in call order.

    Raises:
        InputError: as `collect_ranges`.
    """
    statistics = {name: InputStatistics(r) for name, r in collect_ranges(prepared, batches).items()}
    if not histograms:
        return statistics
    grids = {name: HistogramGrid.covering(s.ranges, bins) for name, s in statistics.items()}
    counted = collect_histograms(prepared, batches, grids)
    return {name: replace(s, histogram=counted[name]) for name, s in statistics.items()}


def count_values(values: Tensor, grid: HistogramGrid) -> Tensor:
    """Return int64 ``(bins,)``; what lies outside the grid counts in the outermost bins."""
    end = grid.low + grid.width * grid.bins
    counts = torch.zeros(grid.bins, dtype=torch.int64, device=values.device)
    for chunk in values.flatten().split(MOST_PER_COUNT):
        hits = torch.histc(chunk, grid.bins, grid.low, end).long()
        if int(hits.sum()) != chunk.numel():
            hits = torch.histc(chunk.clamp(grid.low, end), grid.bins, grid.low, end).long()
        counts += hits
    return counts


def _iterate(batches: Batches) -> Iterator[Tensor]:
    yield from batches() if callable(batches) else batches


def observe_inputs(
    prepared: PreparedModel, batches: Batches, observe: Callable[[str, Tensor], None]
) -> None:
    """Call ``observe(name, input)`` for each layer or operand that shares no other's input."""

    def hook_for(name: str) -> Callable[..., None]:
        def hook(module: Any, args: tuple[Tensor, ...]) -> None:
            observe(name, args[0])

        return hook

    handles = [
        prepared.layer_module(name).register_forward_pre_hook(hook_for(name))
        for name, reader in prepared.first_readers.items()
        if name == reader
    ]
    seen = 0
    try:
        with torch.inference_mode():
            for batch in _iterate(batches):
                if not isinstance(batch, Tensor) or batch.dtype != torch.float32:
                    kind = getattr(batch, "dtype", type(batch).__name__)
                    raise InputError(f"calibration batches must be float32 tensors, got {kind}")
                if not len(batch):
                    continue
                prepared.module(batch.to(prepared.device))
                seen += len(batch)
    finally:
        for handle in handles:
            handle.remove()
    if seen == 0:
        raise InputError("there are no calibration images; give at least one batch")


def _spread(prepared: PreparedModel, found: Mapping[str, Any]) -> dict[str, Any]:
    """Give layers that read the same tensor the statistics of the first of them."""
    return {name: found[reader] for name, reader in prepared.first_readers.items()}
