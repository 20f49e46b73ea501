"""The model under reconstruction, and learning one of its units on the unit's cached input."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptq_pipeline.ptq.hooks import change_input, change_output, during
from ptq_pipeline.ptq.modules import write_nothing_in_place
from ptq_pipeline.ptq.parameters import QuantizationParameters, WeightParameters
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.reconstruction.config import Reconstruction
from ptq_pipeline.ptq.reconstruction.learned import (
    LearnedQuantizer,
    SoftWeight,
    beta_at,
    kept_elements,
)
from ptq_pipeline.ptq.reconstruction.prefix import Prefix
from ptq_pipeline.ptq.reconstruction.units import IMAGES_AT_A_TIME, Unit

# The objective of learned activation scales in BRECQ's code is |error|^2.4; of everything else, ^2.
SCALES_POWER = 2.4


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
        write_nothing_in_place(self.root)
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


@dataclass(eq=False)
class UnitLearning:
    """What one unit is learned from, and how; only one unit's inputs are held at a time.

    Attributes:
        model: the working model.
        unit: the unit.
        config: how to learn.
        rng: source of mini-batches and mixing.
        inputs: of the unit behind the quantized part of the model.
        float_inputs: of the unit in the float model.
        targets: its output in the float model.
        importance: weight of each element of the output, or None for equal ones.
    """

    model: WorkingModel
    unit: Unit
    config: Reconstruction
    rng: np.random.Generator
    inputs: Tensor
    float_inputs: Tensor
    targets: Tensor
    importance: Tensor | None = None

    @classmethod
    def of(
        cls,
        model: WorkingModel,
        unit: Unit,
        before: tuple[Prefix, Prefix],
        config: Reconstruction,
        rng: np.random.Generator,
    ) -> UnitLearning:
        """Take what the float model and the working model hand to the unit."""
        module = model.prepared.module
        float_inputs, inputs = (prefix.input_of(unit) for prefix in before)
        with torch.no_grad():
            parts = [unit.run(module, part) for part in float_inputs.split(IMAGES_AT_A_TIME)]
        return cls(model, unit, config, rng, inputs, float_inputs, torch.cat(parts))

    def learn_weights(self, starts: dict[str, SoftWeight]) -> dict[str, WeightParameters]:
        """Learn the rounding of the unit's weights, with ``joint`` its activation scales too.

        The unit's quantizers are enabled or not already; integers are returned by layer.
        """
        config = self.config
        if not config.iterations:
            return {name: soft.hard() for name, soft in starts.items()}
        rounding = torch.optim.Adam([soft.alpha for soft in starts.values()], config.rounding_lr)
        joint = config.activations == "joint"
        scales = _ScaleLearner(
            self.model.quantizers(self.unit) if joint else [], config.step_lr, config.iterations
        )
        keep = config.keep_quantized_probability if joint else 1.0
        for quantizer in scales.quantizers:
            quantizer.keep = keep
        for step, chosen in enumerate(self._batches(config.iterations)):
            for name, soft in starts.items():
                self.model.set_weight(name, soft.soft())
            loss = self._loss(self._mixed(chosen, keep), chosen, 2.0)
            beta = beta_at(step, config)
            if beta is not None and config.regularization:
                terms = [soft.regularizer(beta) for soft in starts.values()]
                loss = loss + config.regularization * torch.stack(terms).sum()
            rounding.zero_grad(set_to_none=True)
            scales.zero_grad()
            loss.backward()
            rounding.step()
            scales.step()
        for quantizer in scales.quantizers:
            quantizer.keep = 1.0
        return {name: soft.hard() for name, soft in starts.items()}

    def learn_scales(self) -> None:
        """Learn the activation scales of a unit whose weights are done (BRECQ)."""
        steps = self.config.activation_iterations
        scales = _ScaleLearner(self.model.quantizers(self.unit), self.config.step_lr, steps)
        if not scales.quantizers:
            return
        for chosen in self._batches(steps):
            loss = self._loss(self.inputs[chosen], chosen, SCALES_POWER)
            scales.zero_grad()
            loss.backward()
            scales.step()

    def objective(self) -> float:
        """Return the unit's error on all images, everything quantized as it is now."""
        total = 0.0
        with torch.no_grad():
            for rows in torch.arange(len(self.inputs)).split(IMAGES_AT_A_TIME):
                total += float(self._loss(self.inputs[rows], rows, 2.0)) * len(rows)
        return total / len(self.inputs)

    def _batches(self, steps: int) -> Iterator[Tensor]:
        return batches(len(self.inputs), self.config.batch_size, steps, self.rng)

    def _mixed(self, chosen: Tensor, keep: float) -> Tensor:
        quantized = self.inputs[chosen]
        if keep >= 1.0:
            return quantized
        kept = kept_elements(quantized, keep, self.rng)
        return torch.where(kept, quantized, self.float_inputs[chosen])

    def _loss(self, inputs: Tensor, chosen: Tensor, power: float) -> Tensor:
        """Return the error summed over channels, averaged over images and places."""
        result = self.unit.run(self.model.root, inputs)
        error = (result - self.targets[chosen]).abs().pow(power)
        if self.importance is not None:
            error = error * self.importance[chosen]
        return error.sum(1).mean()


def importance_of(model: WorkingModel, unit: Unit, images: Tensor) -> Tensor:
    """Return the diagonal Fisher information of a unit's output on all images (BRECQ).

    For each image the squared gradient, with respect to the unit's output, of the divergence
    ``KL(float || quantized)`` of the class probabilities, with everything up to the unit quantized.
    Scaled to mean 1, so that the rounding regulariser keeps its weight.
    """
    kept: list[Tensor] = []

    def leaf(output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    handle = change_output(model.root.get_submodule(unit.output), leaf)
    parts = []
    with during([handle]):
        for batch in images.split(IMAGES_AT_A_TIME):
            with torch.no_grad():
                target = model.prepared.module(batch).softmax(1)
            with torch.enable_grad():
                logits = model.root(batch)
                loss = functional.kl_div(logits.log_softmax(1), target, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, kept.pop())
            parts.append(gradient.square())
    found = torch.cat(parts)
    mean = found.mean()
    # A unit whose error cannot reach the output has no preference.
    return found / mean if bool(mean > 0) else torch.ones_like(found)


def batches(images: int, size: int, steps: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """Yield the rows of each step's mini-batch: one shuffled pass after another, nothing left out.

    A batch may span the end of one pass and the beginning of the next, so every image is seen
    equally often.
    """
    waiting = np.empty(0, np.int64)
    for _ in range(steps):
        if len(waiting) < size:
            waiting = np.concatenate([waiting, rng.permutation(images)])
        yield torch.from_numpy(waiting[:size])
        waiting = waiting[size:]


class _ScaleLearner:
    """Adam on activation scales, with the learning rate falling to 0 by cosine."""

    def __init__(self, quantizers: list[LearnedQuantizer], rate: float, steps: int) -> None:
        self.quantizers = quantizers
        self._optimizer = None
        if quantizers:
            self._optimizer = torch.optim.Adam([q.scale for q in quantizers], rate)
            self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
                self._optimizer, max(steps, 1)
            )

    def zero_grad(self) -> None:
        if self._optimizer is not None:
            self._optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        if self._optimizer is not None:
            self._optimizer.step()
            self._schedule.step()
