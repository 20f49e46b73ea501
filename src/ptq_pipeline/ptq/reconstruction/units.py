"""Which parts of a model are reconstructed together: residual blocks, or single layers.

BRECQ (Li et al., ICLR 2021) reconstructs the output of a residual block; here a block is the
largest module with a ``forward`` of its own (no container, not the whole model) that holds at most
`MOST_LAYERS` layers, takes one tensor, returns one, and runs once. That finds the blocks of the
ResNet, MobileNet, EfficientNet, RegNet, ConvNeXt, GoogLeNet, ViT and Swin families. Layers outside
any block are units of their own, together with the activation function behind them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ptq_pipeline.ptq.hooks import Call, calls_of
from ptq_pipeline.ptq.preparation import PreparedModel

MOST_LAYERS = 8
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus),
)


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


def partition(prepared: PreparedModel, blocks: bool) -> tuple[list[Unit], list[str]]:
    """Split a model into units in call order.

    Returns:
        The units, and the names of layers that are in none because they run more than once.
    """
    example = torch.zeros(2, *prepared.input_shape, device=prepared.device)
    calls = calls_of(prepared.module, example)
    runs = Counter(call.name for call in calls)
    owner = _block_of_layers(prepared, calls, runs) if blocks else {}
    once = {layer.name for layer in prepared.layers if layer.calls == 1}
    units: dict[str, Unit] = {}
    for layer in prepared.layers:
        name = owner.get(layer.name, layer.name)
        if name in units or layer.name not in once:
            continue
        inside = tuple(item.name for item in prepared.layers if owner.get(item.name) == name)
        is_block = bool(inside)
        activation = "" if is_block else _activation_behind(prepared.module, name, calls, runs)
        unit = Unit(name, inside or (name,), activation, is_block=is_block)
        units[name] = _with_readers(unit, once, calls)
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
    names = [layer.name for layer in prepared.layers]
    calls_of = {layer.name: layer.calls for layer in prepared.layers}
    owner: dict[str, str] = {}
    for name, module in prepared.module.named_modules():
        inside = [layer for layer in names if layer.startswith(name + ".")]
        fits = 2 <= len(inside) <= MOST_LAYERS and all(calls_of[layer] == 1 for layer in inside)
        if name in suitable and fits and not isinstance(module, CONTAINERS):
            for layer in inside:
                owner.setdefault(layer, name)
    return owner


def _activation_behind(root: nn.Module, layer: str, calls: list[Call], runs: Counter[str]) -> str:
    made = next(call.output for call in calls if call.name == layer)
    for call in calls:
        if call.input is made and isinstance(root.get_submodule(call.name), ACTIVATIONS):
            return call.name if runs[call.name] == 1 else ""
    return ""


def _with_readers(unit: Unit, once: set[str], calls: list[Call]) -> Unit:
    made = next(call.output for call in calls if call.name == unit.output)
    readers = tuple(call.name for call in calls if call.name in once and call.input is made)
    return Unit(unit.name, unit.layers, unit.activation, readers, unit.is_block)
