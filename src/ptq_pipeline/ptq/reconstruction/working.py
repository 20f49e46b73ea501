"""The model under reconstruction: float at first, quantized unit by unit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptq_pipeline.ptq.hooks import change_input, change_output, during, visit_input
from ptq_pipeline.ptq.parameters import QuantizationParameters, WeightParameters
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.reconstruction.scales import LearnedQuantizer
from ptq_pipeline.ptq.reconstruction.units import Unit

IMAGES_AT_A_TIME = 64


class WorkingModel:
    """A copy of the prepared model whose units are quantized one after the other.

    Args:
        prepared: the model; not changed.
        parameters: integers and scales to start from, of all layers and outputs.
        rng: source of the random mixing of all its quantizers.
    """

    def __init__(
        self,
        prepared: PreparedModel,
        parameters: QuantizationParameters,
        rng: np.random.Generator,
    ) -> None:
        self.prepared = prepared
        self.root = copy.deepcopy(prepared.module)
        self.weights: dict[str, WeightParameters] = {}
        self.initial_weights = {name: p.weight for name, p in parameters.layers.items()}
        self._inputs: dict[str, LearnedQuantizer] = {}
        self._outputs: dict[str, LearnedQuantizer] = {}
        for module in self.root.modules():
            if getattr(module, "inplace", False) is True:
                module.__dict__["inplace"] = False
        first = prepared.first_readers
        for name, layer in parameters.layers.items():
            if layer.activation is not None:
                reader = first[name]
                if reader not in self._inputs or self._inputs[reader].initial != layer.activation:
                    reader = name
                    self._inputs[name] = LearnedQuantizer(layer.activation, rng)
                self._inputs[name] = self._inputs[reader]
                change_input(self._module(name), self._inputs[name])
        for name, activation in parameters.outputs.items():
            self._outputs[name] = LearnedQuantizer(activation, rng)
            change_output(self._module(name), self._outputs[name])

    def _module(self, name: str) -> nn.Module:
        return self.root.get_submodule(name)

    def set_weight(self, name: str, weight: Tensor) -> None:
        """Give a layer a weight that need not be a parameter."""
        module = self._module(name)
        module._parameters.pop("weight", None)
        module.weight = weight

    def fix(self, name: str, weight: WeightParameters) -> None:
        """Give a layer its integers."""
        self.weights[name] = weight
        self.set_weight(name, torch.from_numpy(weight.dequantized()).to(self.prepared.device))

    def quantizers(self, unit: Unit) -> list[LearnedQuantizer]:
        """Return the quantizers inside a unit and on its output, each one once."""
        found = [self._inputs[name] for name in unit.layers if name in self._inputs]
        found += [
            quantizer
            for name, quantizer in self._outputs.items()
            if name == unit.output or name.startswith(unit.name + ".")
        ]
        return list(dict.fromkeys(found))

    def all_quantizers(self) -> list[LearnedQuantizer]:
        """Return all quantizers, each one once."""
        return list(dict.fromkeys([*self._inputs.values(), *self._outputs.values()]))

    def input_of(self, unit: Unit, images: Tensor) -> Tensor:
        """Return what the unit gets behind the quantized part of the model."""
        return unit_input(self.root, unit, images)

    def run(self, unit: Unit, values: Tensor) -> Tensor:
        """Run one unit alone."""
        return unit.run(self.root, values)

    def result(
        self, base: QuantizationParameters, notes: tuple[str, ...]
    ) -> QuantizationParameters:
        """Return the parameters with the present integers and scales."""
        layers = {
            name: replace(
                layer,
                weight=self.weights.get(name, layer.weight),
                activation=self._inputs[name].parameters() if layer.activation else None,
            )
            for name, layer in base.layers.items()
        }
        outputs = {name: self._outputs[name].parameters() for name in base.outputs}
        return QuantizationParameters(layers, base.overrides, outputs, (*base.notes, *notes))


class _Stop(Exception):
    """The tensor that was looked for is there; the rest of the forward pass is not needed."""


def unit_input(root: nn.Module, unit: Unit, images: Tensor) -> Tensor:
    """Run ``images`` through a model up to a unit and return its input."""
    parts: list[Tensor] = []

    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        parts.append(args[0].detach().clone())
        raise _Stop

    # First in line: a unit's own input quantizer belongs to the unit.
    handle = root.get_submodule(unit.name).register_forward_pre_hook(hook, prepend=True)
    with during([handle]), torch.no_grad():
        for batch in images.split(IMAGES_AT_A_TIME):
            with suppress(_Stop):
                root(batch)
    return torch.cat(parts)


def unit_output(root: nn.Module, unit: Unit, values: Tensor) -> Tensor:
    """Return the unit's output for its whole input, computed part by part."""
    with torch.no_grad():
        return torch.cat([unit.run(root, part) for part in values.split(IMAGES_AT_A_TIME)])


@contextmanager
def layer_inputs(
    root: nn.Module, names: tuple[str, ...]
) -> Iterator[Callable[[], Mapping[str, list[Tensor]]]]:
    """Collect what layers multiply with their weights, behind their quantizers."""
    seen: dict[str, list[Tensor]] = {name: [] for name in names}

    def keep(name: str, values: Tensor) -> None:
        seen[name].append(values.detach())

    with during(visit_input(root.get_submodule(name), name, keep) for name in names):
        yield lambda: seen
