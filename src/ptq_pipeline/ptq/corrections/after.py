"""Corrections of each layer's output after rounding, in one pass behind the corrected layers.

All calibration images go through the quantized model as one batch. When a layer returns, its
output is compared channel by channel with what the float model returns there, corrected at once,
and the next layer already sees the correction.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptq_pipeline.ptq.hooks import calls_of, visit_outputs
from ptq_pipeline.ptq.parameters import QuantizationParameters, WeightParameters
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.simulation import insert_quantizers

# A channel that quantization left without any spread has nothing to scale.
LEAST_DEVIATION = 1e-6


@dataclass(frozen=True)
class _Moments:
    mean: Tensor
    deviation: Tensor


def correct_outputs(
    prepared: PreparedModel,
    parameters: QuantizationParameters,
    images: Tensor,
    *,
    spread: Collection[str] = (),
) -> QuantizationParameters:
    """Return parameters whose layers have the float model's output statistics per channel.

    *Bias correction* (Nagel et al., ICCV 2019, arXiv 1906.04721; here from calibration images):
    the bias takes up the mean error. *Batch norm re-estimation* (Hubara et al., ICML 2021, arXiv
    2006.10518): where a batch norm was folded, the standard deviation is restored too. As the batch
    norm is part of the layer by then, its new scale multiplies the weight's scales.

    Args:
        prepared: the model that was quantized.
        parameters: integers and scales of it.
        images: all calibration images.
        spread: layers whose standard deviation is restored too.

    Returns:
        New parameters; biases are overrides. A layer that runs more than once has no single output
        to correct: it keeps its bias, and a note says so.
    """
    wanted = _float_moments(prepared, images)
    module = copy.deepcopy(prepared.module)
    layers, biases = dict(parameters.layers), {}
    calls = {layer.name: layer.calls for layer in prepared.layers}

    def hook_for(name: str) -> Any:
        def hook(child: Any, args: Any, output: Tensor) -> Tensor:
            got, axis = _moments_of(output, child), _channel_axis(output, child)
            ratio = torch.ones_like(got.mean)
            if name in spread:
                usable = got.deviation > LEAST_DEVIATION
                ratio = torch.where(usable, wanted[name].deviation / got.deviation, 1.0)
            bias = torch.zeros_like(got.mean) if child.bias is None else child.bias
            shift = wanted[name].mean - got.mean * ratio
            biases[f"{name}.bias"] = (bias * ratio + shift).cpu().numpy()
            weight = layers[name].weight
            layers[name] = replace(layers[name], weight=_scaled(weight, ratio))
            shape = [1] * output.ndim
            shape[axis] = -1
            return output * ratio.reshape(shape) + shift.reshape(shape)

        return hook

    insert_quantizers(module, parameters)
    for name in parameters.layers:
        if calls[name] == 1:
            module.get_submodule(name).register_forward_hook(hook_for(name))
    with torch.no_grad():
        module(images)
    notes = tuple(
        f"layer {name!r} runs more than once: its output is not corrected"
        for name in parameters.layers
        if calls[name] != 1
    )
    return replace(
        parameters,
        layers=layers,
        overrides={**parameters.overrides, **biases},
        notes=(*parameters.notes, *notes),
    )


def layers_with_batch_norm(prepared: PreparedModel, example: Tensor) -> set[str]:
    """Return the layers into which a batch norm was folded."""
    calls = calls_of(prepared.module, example)
    names = {layer.name for layer in prepared.layers}
    made = {id(call.output): call.name for call in calls if call.name in names}
    readers = [call for call in calls if call.name in prepared.folded_batch_norms]
    return {made[id(call.input)] for call in readers if id(call.input) in made}


def _float_moments(prepared: PreparedModel, images: Tensor) -> dict[str, _Moments]:
    found: dict[str, _Moments] = {}

    def keep(name: str, output: Tensor) -> None:
        found[name] = _moments_of(output, prepared.layer_module(name))

    visit_outputs(prepared.module, [layer.name for layer in prepared.layers], images, keep)
    return found


def _channel_axis(output: Tensor, child: nn.Module) -> int:
    if isinstance(child, nn.Linear):
        return output.ndim - 1
    return 1


def _moments_of(output: Tensor, child: nn.Module) -> _Moments:
    channels = output.movedim(_channel_axis(output, child), 0).flatten(1)
    return _Moments(channels.mean(1), channels.std(1, correction=0))


def _scaled(weight: WeightParameters, ratio: Tensor) -> WeightParameters:
    scale = weight.scale * ratio.cpu().numpy().astype(np.float32)
    return replace(weight, scale=scale.astype(np.float32))
