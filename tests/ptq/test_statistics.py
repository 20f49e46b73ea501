import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import (
    PreparedModel,
    as_tensor_batches,
    collect_statistics,
    prepare,
)
from ptq_pipeline.ptq.statistics import HistogramGrid, count_values


def _inputs(prepared: PreparedModel, images: Tensor) -> dict[str, Tensor]:
    """Record what goes into each layer without the code under test."""
    seen: dict[str, Tensor] = {}
    handles = [
        prepared.layer_module(layer.name).register_forward_hook(
            lambda module, args, output, name=layer.name: seen.__setitem__(name, args[0])
        )
        for layer in prepared.layers
    ]
    with torch.no_grad():
        prepared.module(images)
    for handle in handles:
        handle.remove()
    return seen


def test_ranges_are_those_of_each_layers_input(prepared: PreparedModel, images: Tensor) -> None:
    statistics = collect_statistics(prepared, [images[:40]], histograms=False)
    for name, values in _inputs(prepared, images[:40]).items():
        found = statistics[name]
        assert (found.minimum, found.maximum) == (float(values.min()), float(values.max()))


def test_histograms_count_every_value_once(prepared: PreparedModel, images: Tensor) -> None:
    statistics = collect_statistics(prepared, [images[:40]], histograms=True)
    assert list(statistics) == [layer.name for layer in prepared.layers]
    for name, values in _inputs(prepared, images[:40]).items():
        histogram = statistics[name].histogram
        assert histogram is not None
        assert histogram.counts.sum() == values.numel()
        zeros = int((values == 0).sum())
        at_zero = np.flatnonzero(histogram.grid.centers == 0.0)
        assert len(at_zero) == 1
        assert histogram.counts[at_zero[0]] >= zeros


def test_batches_can_be_of_any_size(prepared: PreparedModel, images: Tensor) -> None:
    whole = collect_statistics(prepared, as_tensor_batches(images[:60].numpy(), 20), True)
    parts = collect_statistics(prepared, lambda: iter(images[:60].split([20, 40])), True)
    for name, found in whole.items():
        ends = (parts[name].minimum, parts[name].maximum)
        assert (found.minimum, found.maximum) == pytest.approx(ends)
        one, other = (np.cumsum(each.histogram.counts) for each in (found, parts[name]))
        assert one[-1] == other[-1]
        assert np.abs(one - other).max() <= 0.001 * one[-1]


@pytest.mark.parametrize("ends", [(-3.0, 5.0), (0.0, 7.0), (-2.0, 0.0), (4.0, 9.0), (-9.0, -1e-3)])
def test_grid_covers_the_range_and_centers_zero(ends: tuple[float, float]) -> None:
    grid = HistogramGrid.covering(*ends, bins=64)
    assert grid.low <= ends[0]
    assert grid.low + grid.width * grid.bins >= ends[1]
    assert np.abs(grid.centers).min() == 0.0
    expected = grid.low + (np.arange(64) + 0.5) * grid.width
    assert np.allclose(grid.centers, expected, atol=1e-9)


def test_values_outside_a_foreign_grid_count_in_the_outermost_bins(images: Tensor) -> None:
    counts = count_values(images[:8], HistogramGrid(-0.05, 0.1, bins=3))
    expected = np.array([(images[:8] < 0.05).sum(), 0, (images[:8] >= 0.15).sum()])
    expected[1] = images[:8].numel() - expected.sum()
    assert counts.tolist() == expected.tolist()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_activations_that_are_not_finite_name_the_layer(images: Tensor, bad: float) -> None:
    class Overflows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(1, 2, 3)
            self.second = nn.Conv2d(2, 10, 26)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            return self.second(torch.where(x.amax() > 50, bad, 1.0) * y).flatten(1)

    model = prepare(Overflows(), images[:2])
    with pytest.raises(InputError, match="layer 'second': its input holds NaN or infinite"):
        collect_statistics(model, [images[:2], images[:2] + 100], False)


def test_hooks_are_gone_after_an_error(prepared: PreparedModel, images: Tensor) -> None:
    with pytest.raises(InputError, match="float32 tensors, got torch.float64"):
        collect_statistics(prepared, [images[:2].double()], False)
    with pytest.raises(InputError, match="no calibration images"):
        collect_statistics(prepared, [], False)
    assert not any(child._forward_pre_hooks for child in prepared.module.modules())
