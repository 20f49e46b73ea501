"""Which parts of a model are reconstructed together: residual blocks, or single layers.

BRECQ (Li et al., ICLR 2021) reconstructs the output of a residual block; here a block is the
largest module with a ``forward`` of its own (no container, not the whole model) that holds at most
`MOST_LAYERS` layers, takes one tensor, returns one, and runs once. That finds the blocks of the
ResNet, MobileNet, EfficientNet, RegNet, ConvNeXt, GoogLeNet, ViT and Swin families. Layers outside
any block are units of their own, together with the activation function behind them.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ptq_pipeline.ptq.hooks import during
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.tracing import ACTIVATIONS, Call, trace

MOST_LAYERS = 8
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
IMAGES_AT_A_TIME = 64


class _Stop(Exception):
    """The tensor that was looked for is there; the rest of the forward pass is not needed."""


@dataclass(frozen=True)
class Unit:
    """Layers that are reconstructed together.

    Attributes:
        name: dotted name of the block or layer.
        layers: names of its layers, in call order.
        activation: module of the activation function behind a single layer, or "".
        readers: layers that read the very tensor that the unit returns.
        is_block: whether the unit is a block.
    """

    name: str
    layers: tuple[str, ...]
    activation: str = ""
    readers: tuple[str, ...] = ()
    is_block: bool = False

    @property
    def output(self) -> str:
        """Dotted name of the module whose output is the unit's."""
        return self.activation or self.name

    def run(self, root: nn.Module, values: Tensor) -> Tensor:
        """Run the unit alone on ``values``, the input of the module `name`."""
        result = root.get_submodule(self.name)(values)
        return root.get_submodule(self.activation)(result) if self.activation else result

    def input_of(self, root: nn.Module, values: Tensor, start: str = "") -> Tensor:
        """Run a model, or the module ``start`` of it, up to the unit and return its input."""
        parts: list[Tensor] = []

        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            parts.append(args[0].detach().clone())
            raise _Stop

        # First in line: a unit's own input quantizer belongs to the unit.
        handle = root.get_submodule(self.name).register_forward_pre_hook(hook, prepend=True)
        with during([handle]), torch.no_grad():
            for batch in values.split(IMAGES_AT_A_TIME):
                with suppress(_Stop):
                    root.get_submodule(start)(batch.clone())
        return torch.cat(parts)


def partition(prepared: PreparedModel, blocks: bool) -> tuple[list[Unit], list[str]]:
    """Split a model into units in call order.

    Returns:
        The units, and the names of layers that are in none because they run more than once.
    """
    example = torch.zeros(2, *prepared.input_shape, device=prepared.device)
    calls = trace(prepared.module, example).calls
    runs = Counter(call.name for call in calls)
    owner = _block_of_layers(prepared, calls, runs) if blocks else {}
    once = {layer.name for layer in prepared.layers if layer.calls == 1}
    units: dict[str, Unit] = {}
    for layer in prepared.layers:
        name = owner.get(layer.name, layer.name)
        if name in units or layer.name not in once:
            continue
        inside = tuple(item.name for item in prepared.layers if owner.get(item.name) == name)
        unit = Unit(name, inside or (name,), is_block=bool(inside))
        if not inside:
            unit = replace(unit, activation=_activation_behind(name, calls, runs))
        readers = [call.name for call in _reading(unit.output, calls) if call.name in once]
        units[name] = replace(unit, readers=tuple(readers))
    return list(units.values()), [layer.name for layer in prepared.layers if layer.name not in once]


def _block_of_layers(
    prepared: PreparedModel, calls: list[Call], runs: Counter[str]
) -> dict[str, str]:
    """Return the block of each layer that is in one."""
    suitable = {
        call.name
        for call in calls
        if call.name
        and runs[call.name] == 1
        and call.input is not None
        and isinstance(call.output, Tensor)
    }
    owner: dict[str, str] = {}
    for name, module in prepared.module.named_modules():
        inside = [layer for layer in prepared.layers if layer.name.startswith(name + ".")]
        fits = 2 <= len(inside) <= MOST_LAYERS and all(layer.calls == 1 for layer in inside)
        if name in suitable and fits and not isinstance(module, CONTAINERS):
            for layer in inside:
                owner.setdefault(layer.name, name)
    return owner


def _activation_behind(layer: str, calls: list[Call], runs: Counter[str]) -> str:
    for call in _reading(layer, calls):
        if isinstance(call.module, ACTIVATIONS):
            return call.name if runs[call.name] == 1 else ""
    return ""


def _reading(name: str, calls: list[Call]) -> list[Call]:
    """Return the calls of modules that take the very tensor that a module returned."""
    made = next(call.output for call in calls if call.name == name)
    return [call for call in calls if call.input is made]
