"""Corrections after rounding: each channel gets the float model's mean, and its deviation.

All calibration images go through the quantized model as one batch. When a layer returns, its output
is compared channel by channel with what the float model returns there, corrected at once, and the
next layer already sees the correction.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptq_pipeline.ptq.hooks import visit_outputs
from ptq_pipeline.ptq.parameters import QuantizationParameters
from ptq_pipeline.ptq.places import insert_quantizers
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.tracing import trace

# A channel that quantization left without any spread has nothing to scale.
LEAST_DEVIATION = 1e-6


def _towards(
    aim: tuple[Tensor, Tensor], moments: tuple[Tensor, Tensor], spread: bool
) -> tuple[Tensor, Tensor]:
    """Return by channel the factor and the summand that give outputs the moments ``aim``."""
    mean, deviation = moments
    ratio = torch.ones_like(mean)
    if spread:
        ratio = torch.where(deviation > LEAST_DEVIATION, aim[1] / deviation, 1.0)
    return ratio, aim[0] - mean * ratio


def match_moments(
    prepared: PreparedModel,
    parameters: QuantizationParameters,
    images: Tensor,
    spread: Collection[str],
) -> QuantizationParameters:
    """Return parameters whose layers have the float model's output statistics per channel.

    *Bias correction* (Nagel et al., ICCV 2019, arXiv 1906.04721; here from calibration images):
    the bias takes up the mean error. *Batch norm re-estimation* (Hubara et al., ICML 2021, arXiv
    2006.10518): where a batch norm was folded, in the layers `spread`, the standard deviation is
    restored too. As the batch norm is part of the layer by then, its new scale multiplies the
    weight's scales. A layer that runs more than once has no single output to correct.
    """
    wanted = _float_moments(prepared, images)
    module = copy.deepcopy(prepared.module)
    layers, biases = dict(parameters.layers), {}
    repeated = [layer.name for layer in prepared.layers if layer.calls != 1]

    def hook_for(name: str) -> Any:
        def hook(child: Any, args: Any, output: Tensor) -> Tensor:
            ratio, shift = _towards(wanted[name], _moments_of(output, child), name in spread)
            bias = torch.zeros_like(shift) if child.bias is None else child.bias
            biases[f"{name}.bias"] = (bias * ratio + shift).cpu().numpy()
            weight = layers[name].weight
            scale = weight.scale * ratio.cpu().numpy().astype(np.float32)
            weight = replace(weight, scale=scale.astype(np.float32))
            layers[name] = replace(layers[name], weight=weight)
            shape = [1] * output.ndim
            shape[_channel_axis(output, child)] = -1
            return output * ratio.reshape(shape) + shift.reshape(shape)

        return hook

    insert_quantizers(module, parameters)
    for name in parameters.layers:
        if name not in repeated:
            module.get_submodule(name).register_forward_hook(hook_for(name))
    with torch.no_grad():
        module(images)
    notes = [f"layer {n!r} runs more than once: its output is not corrected" for n in repeated]
    return replace(
        parameters,
        layers=layers,
        overrides={**parameters.overrides, **biases},
        notes=(*parameters.notes, *notes),
    )


def layers_with_batch_norm(prepared: PreparedModel, example: Tensor) -> set[str]:
    """Return the layers into which a batch norm was folded."""
    found = trace(prepared.module, example)
    made = {id(call.output): call.name for call in found.layers}
    readers = [call for call in found.calls if call.name in prepared.folded_batch_norms]
    return {made[id(call.input)] for call in readers if id(call.input) in made}


def _float_moments(prepared: PreparedModel, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str, output: Tensor) -> None:
        found[name] = _moments_of(output, prepared.layer_module(name))

    visit_outputs(prepared.module, [layer.name for layer in prepared.layers], images, keep)
    return found


def _channel_axis(output: Tensor, child: nn.Module) -> int:
    return output.ndim - 1 if isinstance(child, nn.Linear) else 1


def _moments_of(output: Tensor, child: nn.Module) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel."""
    channels = output.movedim(_channel_axis(output, child), 0).flatten(1)
    return channels.mean(1), channels.std(1, correction=0)
