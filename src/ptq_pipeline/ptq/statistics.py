"""Statistics of what goes into each layer: ranges first, then histograms on a fixed grid.

Both kinds are small, know nothing of the images they came from, and can be merged, so a calibration
set can be streamed in batches of any size, or be put together from parts computed elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.hooks import Visit, during, visit_input
from ptq_pipeline.ptq.preparation import PreparedModel

DEFAULT_BINS = 2048
# torch.histc counts in float32, which holds every integer up to this one.
MOST_PER_COUNT = 2**24

# A sequence, or a function that starts a new pass; both can be gone through twice.
Batches: TypeAlias = Sequence[Tensor] | Callable[[], Iterable[Tensor]]
# Makes one pass over the images and hands over names and tensors of each batch.
Pass: TypeAlias = Callable[[Visit], None]


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


def collect_ranges(run: Pass) -> dict[str, RangeStatistics]:
    """Return the range of everything that one pass hands over.

    Returns:
        One entry per name, in call order.

    Raises:
        InputError: a value is not finite.
    """
    partial: dict[str, list[tuple[Tensor, Tensor, int]]] = {}

    def observe(name: str, values: Tensor) -> None:
        low, high = torch.aminmax(values)
        partial.setdefault(name, []).append((low, high, values.numel()))

    run(observe)
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
    return found


def collect_histograms(
    run: Pass, grids: Mapping[str, HistogramGrid]
) -> dict[str, HistogramStatistics]:
    """Count everything that one pass hands over on its grid.

    Args:
        run: makes the pass, of the images that the ranges are of, or of others on the same grids.
        grids: one grid per name.
    """
    counts: dict[str, Tensor] = {}

    def observe(name: str, values: Tensor) -> None:
        hits = count_values(values, grids[name])
        counts[name] = counts[name] + hits if name in counts else hits

    run(observe)
    return {
        name: HistogramStatistics(grids[name], hits.cpu().numpy()) for name, hits in counts.items()
    }


def statistics_of(
    run: Pass, histograms: bool, bins: int = DEFAULT_BINS
) -> dict[str, InputStatistics]:
    """Return range statistics, and after a second pass histograms, of what a pass hands over.

    Args:
        run: makes a pass.
        histograms: whether to make the second one.
        bins: bins of each histogram.
    """
    statistics = {name: InputStatistics(ranges) for name, ranges in collect_ranges(run).items()}
    if not histograms:
        return statistics
    grids = {name: HistogramGrid.covering(s.ranges, bins) for name, s in statistics.items()}
    counted = collect_histograms(run, grids)
    return {name: replace(s, histogram=counted[name]) for name, s in statistics.items()}


def collect_statistics(
    prepared: PreparedModel, batches: Batches, histograms: bool, bins: int = DEFAULT_BINS
) -> dict[str, InputStatistics]:
    """Run the float model over the batches and return statistics of every layer's input.

    Args:
        prepared: the model; hooks are set on it for the time of the call (not thread-safe).
        batches: float32 ``(n, C, H, W)`` tensors, values as the model takes them.
        histograms: whether to make a second pass.
        bins: bins of each histogram.

    Returns:
        One entry per layer, in call order.

    Raises:
        InputError: there are no batches, a batch is not float32, or a layer's input is not finite.
    """
    found = statistics_of(inputs_of(prepared, batches), histograms, bins)
    # Layers that read the same tensor have the statistics of the first of them.
    return {name: found[reader] for name, reader in prepared.first_readers.items()}


def inputs_of(prepared: PreparedModel, batches: Batches) -> Pass:
    """Return the pass that hands over the input of every layer that shares no other's."""
    return lambda observe: observe_inputs(prepared, batches, observe)


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


def observe_inputs(prepared: PreparedModel, batches: Batches, observe: Visit) -> None:
    """Call ``observe(name, input)`` for each layer or operand that shares no other's input."""
    handles = [
        visit_input(prepared.layer_module(name), name, observe)
        for name, reader in prepared.first_readers.items()
        if name == reader
    ]
    seen = 0
    with during(handles), torch.inference_mode():
        for batch in batches() if callable(batches) else batches:
            if not isinstance(batch, Tensor) or batch.dtype != torch.float32:
                kind = getattr(batch, "dtype", type(batch).__name__)
                raise InputError(f"calibration batches must be float32 tensors, got {kind}")
            if not len(batch):
                continue
            prepared.module(batch.to(prepared.device))
            seen += len(batch)
    if seen == 0:
        raise InputError("there are no calibration images; give at least one batch")
