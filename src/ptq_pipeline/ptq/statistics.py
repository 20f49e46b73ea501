"""Statistics of what goes into each layer: ranges first, then histograms on a fixed grid.

Both kinds are small and know nothing of the images they came from, so a calibration set can be
streamed in batches of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
class HistogramGrid:
    """Equal bins from ``low`` on, zero in the middle of one: the zeros behind a ReLU stay exact."""

    low: float
    width: float
    bins: int = DEFAULT_BINS

    @classmethod
    def covering(cls, low: float, high: float, bins: int = DEFAULT_BINS) -> HistogramGrid:
        """Return the grid over ``[min(low, 0), max(high, 0)]``; all zero gives width 1."""
        low, high = min(low, 0.0), max(high, 0.0)
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
    """How often each bin of a grid was hit, int64 ``(bins,)``.

    Values outside the grid are counted in the outermost bins.
    """

    grid: HistogramGrid
    counts: np.ndarray


@dataclass(frozen=True, eq=False)
class InputStatistics:
    """What is known of one layer's input: its range, and its histogram when a method needs it.

    ``per_batch`` holds the range of each batch in the order seen, where they were kept.
    """

    minimum: float
    maximum: float
    per_batch: tuple[tuple[float, float], ...] = ()
    histogram: HistogramStatistics | None = None


def collect_statistics(
    prepared: PreparedModel, batches: Batches, histograms: bool
) -> dict[str, InputStatistics]:
    """Return statistics of every layer's input in the float model, in call order.

    Hooks are set on the model for the time of the call (not thread-safe). Histograms take a second
    pass over the float32 batches ``(n, C, H, W)``.

    Raises:
        InputError: there are no batches, a batch is not float32, or a layer's input is not finite.
    """
    found = statistics_of(lambda visit: observe_inputs(prepared, batches, visit), histograms)
    # Layers that read the same tensor have the statistics of the first of them.
    return {name: found[reader] for name, reader in prepared.first_readers.items()}


def statistics_of(run: Pass, histograms: bool) -> dict[str, InputStatistics]:
    """Return range statistics, and after a second pass histograms, of what a pass hands over.

    Raises:
        InputError: a value is not finite.
    """
    found = _ranges(run)
    if not histograms:
        return found
    grids = {name: HistogramGrid.covering(s.minimum, s.maximum) for name, s in found.items()}
    counts = {
        name: HistogramStatistics(grids[name], hits.cpu().numpy())
        for name, hits in _counts(run, grids).items()
    }
    return {name: replace(s, histogram=counts[name]) for name, s in found.items()}


def _ranges(run: Pass) -> dict[str, InputStatistics]:
    partial: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def observe(name: str, values: Tensor) -> None:
        partial.setdefault(name, []).append(torch.aminmax(values))

    run(observe)
    found: dict[str, InputStatistics] = {}
    for name, parts in partial.items():
        lows, highs = (torch.stack(each).tolist() for each in zip(*parts, strict=True))
        # A NaN anywhere must not get lost in Python's min.
        low, high = float(np.min(lows)), float(np.max(highs))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(not_finite(name))
        found[name] = InputStatistics(low, high, tuple(zip(lows, highs, strict=True)))
    return found


def not_finite(layer: str) -> str:
    """Return the text of the error that a layer's input cannot be used."""
    return (
        f"layer {layer!r}: its input holds NaN or infinite values on the calibration images; check "
        "the weights before this layer and the preprocessing"
    )


def _counts(run: Pass, grids: Mapping[str, HistogramGrid]) -> dict[str, Tensor]:
    counts: dict[str, Tensor] = {}

    def observe(name: str, values: Tensor) -> None:
        hits = count_values(values, grids[name])
        counts[name] = counts[name] + hits if name in counts else hits

    run(observe)
    return counts


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
