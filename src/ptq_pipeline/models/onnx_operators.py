"""Operators of a converted ONNX network in a form that every exporter and runtime knows.

onnx2pytorch hands the numbers that an operator works by, such as the ends of a slice, to it as
tensors. To torch's exporters these are data, by which nobody can tell how large a map is. They
follow from the size of the images, which an audit has fixed, so they are written down here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

# Before it, Resize had factors and no sizes.
OPSET_WITH_SIZES = 11
# Two numbers of images, by which those that follow from the batch are told from others.
BATCHES = (2, 3)


class Divide(nn.Module):
    """ONNX Div in an operation that every converter knows; integers are cut towards zero."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the quotient."""
        if torch.result_type(one, other).is_floating_point:
            return torch.div(one, other)
        return torch.div(one, other, rounding_mode="trunc")


class FixedResize(nn.Module):
    """A Resize by certain factors, or to a certain height and width."""

    def __init__(self, resize: Any, scales: list[float], sizes: list[int]) -> None:
        super().__init__()
        self.resize, self.scales, self.sizes = resize, scales, sizes

    def forward(self, x: Tensor, *given: Any) -> Tensor:
        """Return the resized map; ``given`` is what the graph says again."""
        if self.scales:
            found: Tensor = self.resize.interpolate(x, None, self.scales, None)
            return found
        mode, corners = self.resize.torch_mode(x.dim() - 2), self.resize.align_corners
        return nn.functional.interpolate(x, self.sizes[2:], mode=mode, align_corners=corners)


class FixedSlice(nn.Module):
    """A part of a tensor: ``start``, ``end`` and ``step`` by axis."""

    def __init__(self, parts: dict[int, tuple[int, int, int]]) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, x: Tensor, *given: Any) -> Tensor:
        """Return the part; ``given`` is what the graph says again."""
        chosen = (self.parts.get(axis, (None, None, None)) for axis in range(x.dim()))
        return x[tuple(slice(*part) for part in chosen)]


class FixedReshape(nn.Module):
    """Another shape: ``None`` is the number of images, 0 a side that stays."""

    def __init__(self, shape: Sequence[int | None]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor, *given: Any) -> Tensor:
        """Return the values in that shape; ``given`` is what the graph says again."""
        return x.reshape(
            [
                x.shape[0] if side is None else x.shape[axis] if side == 0 else side
                for axis, side in enumerate(self.shape)
            ]
        )


def replace_operators(module: nn.Module, sides: list[int]) -> None:
    """Replace operators of a network that onnx2pytorch converted, in place.

    Args:
        module: the network.
        sides: images, channels, height and width that it takes; where one of the last three is
            open (0), operators stay as they are, as they do where it takes so many images only.
    """
    from onnx2pytorch.operations import Div, Reshape, Resize, Slice

    for name, each in list(module.named_children()):
        if isinstance(each, Div):
            setattr(module, name, Divide())
    if 0 in sides[1:]:
        return
    kinds = {Resize: _resize, Slice: _slice, Reshape: _reshape}
    try:
        seen = [_given(module, tuple(kinds), (images, *sides[1:])) for images in BATCHES]
    except Exception:  # noqa: BLE001 - what a network cannot run is said when it is compared
        return
    for name, (each, dimensions, few) in seen[0].items():
        fixed = kinds[type(each)](each, dimensions, few, seen[1][name][2])
        if fixed is not None:
            setattr(module, name, fixed)


Given = dict[str, tuple[Any, int, list[list[Any]]]]


def _given(module: nn.Module, kinds: tuple[type, ...], shape: tuple[int, ...]) -> Given:
    """Run a network, and return operators by name with their input's dimensions and numbers."""
    found: Given = {}
    with ExitStack() as hooks, torch.inference_mode():
        for name, each in module.named_children():
            if type(each) in kinds:

                def write(operator: Any, given: tuple[Any, ...], name: str = name) -> None:
                    numbers = [[] if one is None else one.tolist() for one in given[1:]]
                    found[name] = (operator, given[0].dim(), numbers)

                hooks.enter_context(each.register_forward_pre_hook(write))
        module(torch.zeros(shape))
    return found


def _resize(each: Any, dimensions: int, few: list[Any], more: list[Any]) -> nn.Module | None:
    # Newer ones have regions of interest in front.
    scales, sizes, *_ = [*few[each.opset_version >= OPSET_WITH_SIZES :], [], []]
    return FixedResize(each, scales, sizes)


def _slice(each: Any, dimensions: int, few: list[Any], more: list[Any]) -> nn.Module | None:
    named = (each.starts, each.ends, each.dim, each.steps)
    starts, ends, axes, steps = (
        given or ([] if own is None else list(own))
        for given, own in zip([*few, [], [], [], []], named, strict=False)
    )
    axes = [axis % dimensions for axis in axes or range(len(starts))]
    steps = steps or [1] * len(starts)
    if few != more or 0 in axes or min(steps) < 1:
        return None
    return FixedSlice(dict(zip(axes, zip(starts, ends, steps, strict=True), strict=True)))


def _reshape(each: Any, dimensions: int, few: list[Any], more: list[Any]) -> nn.Module | None:
    if not few or (each.allowzero and 0 in few[0]):
        return None
    shape = []
    for one, other in zip(few[0], more[0], strict=True):
        if one != other and (one, other) != BATCHES:
            return None
        shape.append(one if one == other else None)
    return FixedReshape(shape)
