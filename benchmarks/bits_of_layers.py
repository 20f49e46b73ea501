"""Mixed precision: bits of each layer under a budget, by what they do to the worst group.

The usual choice (HAWQ, Dong et al., ICCV 2019; HAQ, Wang et al., CVPR 2019; and most toolkits)
weighs a layer by its effect on average. `measure_effects` keeps the effect on every group, and
`choose_bits` weighs by the worst of them or, for comparison, by the average. The effect is the
growth of the cross-entropy when one layer alone goes down to fewer bits: unlike lost answers it is
not zero for most layers. Measure on the `selection` images, never on those that judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.calibration import activations_from, combine, quantize_weights
from ptq_pipeline.ptq.parameters import QuantizationParameters
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.spec import MethodSpec
from ptq_pipeline.ptq.statistics import Batches, collect_statistics

Budget = Literal["size", "operations"]


@dataclass(frozen=True, eq=False)
class Effects:
    """What fewer bits in one layer do, for every layer and number of bits.

    Attributes:
        layers: names, ``L`` of them.
        bits: numbers of bits in rising order, ``B`` of them; the last one is the reference.
        groups: names, ``G`` of them.
        by_group: growth of the mean cross-entropy, ``(L, B, G)``; zero for the last bits.
        average: the same over all images, ``(L, B)``.
        budget: what the bits were changed for: ``size`` changes weights, ``operations`` weights and
            inputs.
    """

    layers: tuple[str, ...]
    bits: tuple[int, ...]
    groups: tuple[str, ...]
    by_group: np.ndarray
    average: np.ndarray
    budget: Budget

    @property
    def worst(self) -> np.ndarray:
        """Growth in the group where it is largest, ``(L, B)``."""
        return self.by_group.max(2)


def measure_effects(
    prepared: PreparedModel,
    batches: Batches,
    method: MethodSpec,
    predict: Callable[[QuantizationParameters], np.ndarray],
    labels: np.ndarray,
    groups: Mapping[str, np.ndarray],
    *,
    bits: Sequence[int] = (2, 3, 4, 6, 8),
    budget: Budget = "size",
) -> Effects:
    """Lower one layer after the other and look at every group.

    Args:
        prepared: the model.
        batches: calibration images.
        method: ranges and schemes; its own bits are replaced.
        predict: logits ``(n, classes)`` of the images that choose, for given parameters.
        labels: their classes ``(n,)``.
        groups: boolean masks ``(n,)`` by name.
        bits: numbers of bits to choose from.
        budget: see `Effects`.

    Raises:
        InputError: there are no groups, one of them is empty, or there is one number of bits only.
    """
    choices = tuple(sorted(set(bits)))
    if len(choices) < 2:
        raise InputError("mixed precision: give at least two numbers of bits to choose from")
    if not groups:
        raise InputError("mixed precision: give at least one group of images")
    for name, mask in groups.items():
        if not mask.any():
            raise InputError(f"mixed precision: group {name!r} has no image")
    names = tuple(layer.name for layer in prepared.layers)
    options = _options(prepared, batches, method, choices, budget)
    top = options[choices[-1]]
    reference = _cross_entropy(predict(top), labels)
    growth = np.zeros((len(names), len(choices), len(labels)))
    for i, name in enumerate(names):
        for j, choice in enumerate(choices[:-1]):
            layers = {**top.layers, name: options[choice].layers[name]}
            growth[i, j] = _cross_entropy(predict(replace(top, layers=layers)), labels) - reference
    by_group = np.stack([growth[..., mask].mean(-1) for mask in groups.values()], axis=-1)
    return Effects(names, choices, tuple(groups), by_group, growth.mean(-1), budget)


def choose_bits(
    prepared: PreparedModel,
    effects: Effects,
    budget_bits: float,
    *,
    by: Literal["worst_group", "average"] = "worst_group",
) -> dict[str, int]:
    """Choose bits so that the model costs no more than with ``budget_bits`` everywhere.

    Greedy: from the most bits, the step that grows the effect least per cost saved, until the
    budget holds.

    Args:
        prepared: the model.
        effects: of its layers.
        budget_bits: bits of a uniform model of the same cost; size counts ``weights x bits``,
            operations ``multiplications x bits^2``.
        by: what a layer is weighed by.

    Returns:
        Bits by layer, for ``layer_weight_bits`` (and with operations ``layer_activation_bits``).

    Raises:
        InputError: the budget is below the fewest bits.
    """
    bits = effects.bits
    if budget_bits < bits[0]:
        raise InputError(
            f"mixed precision: a budget of {budget_bits} bits is below the fewest, {bits[0]}"
        )
    damage = effects.worst if by == "worst_group" else effects.average
    power = 1 if effects.budget == "size" else 2
    units = layer_units(prepared, effects.budget)
    weight = np.array([units[name] for name in effects.layers], float)
    allowed = weight.sum() * budget_bits**power
    chosen = np.full(len(effects.layers), len(bits) - 1)

    def cost() -> float:
        return float((weight * np.array(bits)[chosen] ** power).sum())

    while cost() > allowed:
        steps = [
            (
                # A step that seems to help is free, not better than free.
                max(damage[i, chosen[i] - 1] - damage[i, chosen[i]], 0.0)
                / (weight[i] * (bits[chosen[i]] ** power - bits[chosen[i] - 1] ** power)),
                i,
            )
            for i in range(len(chosen))
            if chosen[i] > 0
        ]
        chosen[min(steps)[1]] -= 1
    return {name: bits[index] for name, index in zip(effects.layers, chosen, strict=True)}


def layer_units(prepared: PreparedModel, budget: Budget) -> dict[str, int]:
    """Return what each layer's cost is proportional to: weights, or multiplications per image."""
    sizes = {layer.name: int(np.prod(layer.weight_shape)) for layer in prepared.layers}
    if budget == "size":
        return sizes
    operations = dict.fromkeys(sizes, 0)

    def hook_for(name: str, out_channels: int) -> Any:
        def hook(module: Any, args: Any, output: Tensor) -> None:
            operations[name] += output[0].numel() // out_channels * sizes[name]

        return hook

    handles = [
        prepared.layer_module(layer.name).register_forward_hook(
            hook_for(layer.name, layer.weight_shape[0])
        )
        for layer in prepared.layers
    ]
    try:
        with torch.no_grad():
            prepared.module(torch.zeros(2, *prepared.input_shape, device=prepared.device))
    finally:
        for handle in handles:
            handle.remove()
    return operations


def _options(
    prepared: PreparedModel,
    batches: Batches,
    method: MethodSpec,
    choices: Sequence[int],
    budget: Budget,
) -> dict[int, QuantizationParameters]:
    """Return the model with the same bits everywhere, for each number of bits."""
    statistics = collect_statistics(prepared, batches, method.activation_range.needs_histogram)
    found = {}
    for choice in choices:
        uniform = replace(method, weight_bits=choice, layer_weight_bits={})
        if budget == "operations":
            uniform = replace(uniform, activation_bits=choice, layer_activation_bits={})
        activations = activations_from(statistics, uniform, prepared)
        found[choice] = combine(quantize_weights(prepared, uniform), activations)
    return found


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]
