"""Learning the rounding and the activation scales of one unit on its cached input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ptq_pipeline.ptq.hooks import change_output, during
from ptq_pipeline.ptq.parameters import WeightParameters
from ptq_pipeline.ptq.reconstruction.config import Reconstruction
from ptq_pipeline.ptq.reconstruction.learned import (
    LearnedQuantizer,
    SoftWeight,
    beta_at,
    kept_elements,
)
from ptq_pipeline.ptq.reconstruction.units import IMAGES_AT_A_TIME, Unit
from ptq_pipeline.ptq.reconstruction.working import WorkingModel

# The objective of learned activation scales in BRECQ's code is |error|^2.4; of everything else, ^2.
SCALES_POWER = 2.4


@dataclass(frozen=True, eq=False)
class Cache:
    """What one unit is learned from; only one unit's is held at a time.

    Attributes:
        inputs: of the unit behind the quantized part of the model.
        float_inputs: of the unit in the float model.
        targets: its output in the float model.
        importance: weight of each element of the output, or None for equal ones.
    """

    inputs: Tensor
    float_inputs: Tensor
    targets: Tensor
    importance: Tensor | None = None

    @classmethod
    def of(cls, model: WorkingModel, unit: Unit, images: Tensor) -> Cache:
        """Run the images through the working model and the float one."""
        module = model.prepared.module
        float_inputs = unit.input_of(module, images)
        with torch.no_grad():
            parts = [unit.run(module, part) for part in float_inputs.split(IMAGES_AT_A_TIME)]
        return cls(unit.input_of(model.root, images), float_inputs, torch.cat(parts))


def importance(model: WorkingModel, unit: Unit, images: Tensor) -> Tensor:
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


def learn_weights(
    model: WorkingModel,
    unit: Unit,
    cache: Cache,
    starts: dict[str, SoftWeight],
    config: Reconstruction,
    rng: np.random.Generator,
) -> dict[str, WeightParameters]:
    """Learn the rounding of a unit's weights, with ``joint`` its activation scales too.

    Args:
        model: the working model; the unit's quantizers are enabled or not already.
        unit: the unit.
        cache: its inputs and targets.
        starts: rounding variables of its layers.
        config: how to learn.
        rng: source of mini-batches and mixing.

    Returns:
        The integers, by layer.
    """
    rounding = torch.optim.Adam([soft.alpha for soft in starts.values()], config.rounding_lr)
    joint = config.activations == "joint"
    scales = _ScaleLearner(
        model.quantizers(unit) if joint else [], config.step_lr, config.iterations
    )
    keep = config.keep_quantized_probability if joint else 1.0
    for quantizer in scales.quantizers:
        quantizer.keep = keep
    for step, chosen in enumerate(batches(len(cache.inputs), config, config.iterations, rng)):
        for name, soft in starts.items():
            model.set_weight(name, soft.soft())
        result = unit.run(model.root, _mixed(cache, chosen, keep, rng))
        loss = _loss(result, cache, chosen, 2.0)
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


def learn_scales(
    model: WorkingModel,
    unit: Unit,
    cache: Cache,
    config: Reconstruction,
    rng: np.random.Generator,
) -> None:
    """Learn the activation scales of a unit whose weights are done (BRECQ)."""
    scales = _ScaleLearner(model.quantizers(unit), config.step_lr, config.activation_iterations)
    if not scales.quantizers:
        return
    for chosen in batches(len(cache.inputs), config, config.activation_iterations, rng):
        loss = _loss(unit.run(model.root, cache.inputs[chosen]), cache, chosen, SCALES_POWER)
        scales.zero_grad()
        loss.backward()
        scales.step()


def objective(model: WorkingModel, unit: Unit, cache: Cache) -> float:
    """Return the unit's error on all images, everything quantized as it is now."""
    total = 0.0
    with torch.no_grad():
        for rows in torch.arange(len(cache.inputs)).split(IMAGES_AT_A_TIME):
            result = unit.run(model.root, cache.inputs[rows])
            total += float(_loss(result, cache, rows, 2.0)) * len(rows)
    return total / len(cache.inputs)


def batches(
    images: int, config: Reconstruction, steps: int, rng: np.random.Generator
) -> Iterator[Tensor]:
    """Yield the rows of each step's mini-batch: one shuffled pass after another, nothing left out.

    A batch may span the end of one pass and the beginning of the next, so every image is seen
    equally often.
    """
    waiting = np.empty(0, np.int64)
    for _ in range(steps):
        if len(waiting) < config.batch_size:
            waiting = np.concatenate([waiting, rng.permutation(images)])
        yield torch.from_numpy(waiting[: config.batch_size])
        waiting = waiting[config.batch_size :]


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


def _mixed(cache: Cache, chosen: Tensor, keep: float, rng: np.random.Generator) -> Tensor:
    quantized = cache.inputs[chosen]
    if keep >= 1.0:
        return quantized
    kept = kept_elements(quantized, keep, rng)
    return torch.where(kept, quantized, cache.float_inputs[chosen])


def _loss(result: Tensor, cache: Cache, chosen: Tensor, power: float) -> Tensor:
    """Return the error summed over channels, averaged over images and places."""
    error = (result - cache.targets[chosen]).abs().pow(power)
    if cache.importance is not None:
        error = error * cache.importance[chosen]
    return error.sum(1).mean()
