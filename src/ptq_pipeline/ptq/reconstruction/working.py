"""The model under reconstruction: float at first, quantized unit by unit."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ptq_pipeline.ptq.hooks import change_input, change_output
from ptq_pipeline.ptq.parameters import QuantizationParameters, WeightParameters
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.reconstruction.learned import LearnedQuantizer
from ptq_pipeline.ptq.reconstruction.units import Unit


class WorkingModel:
    """A copy of the prepared model whose units are quantized one after the other.

    It starts from the integers and scales of `parameters`; `rng` mixes at random in all quantizers.
    """

    def __init__(
        self, prepared: PreparedModel, parameters: QuantizationParameters, rng: np.random.Generator
    ) -> None:
        self.prepared = prepared
        self.base = parameters
        self.root = copy.deepcopy(prepared.module)
        self.weights: dict[str, WeightParameters] = {}
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

    def fix(self, name: str, weight: WeightParameters | None = None) -> None:
        """Give a layer its integers; left out, those to start from."""
        weight = weight or self.base.layers[name].weight
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

    def result(self, notes: tuple[str, ...]) -> QuantizationParameters:
        """Return the parameters with the present integers and scales."""
        layers = {
            name: replace(
                layer,
                weight=self.weights.get(name, layer.weight),
                activation=self._inputs[name].parameters() if layer.activation else None,
            )
            for name, layer in self.base.layers.items()
        }
        outputs = {name: self._outputs[name].parameters() for name in self.base.outputs}
        return replace(self.base, layers=layers, outputs=outputs, notes=(*self.base.notes, *notes))
