"""Calibration: from a prepared model and images to the integers and scales of every layer.

Weights need no images and are quantized once per model and method; the input of each layer needs
statistics of the float model on the calibration images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.parameters import (
    ActivationParameters,
    LayerParameters,
    QuantizationParameters,
    WeightParameters,
)
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.quantizer import choose_qparams, quantize
from ptq_pipeline.ptq.spec import MethodSpec
from ptq_pipeline.ptq.statistics import Batches, InputStatistics, collect_statistics


def quantize_weights(prepared: PreparedModel, method: MethodSpec) -> dict[str, WeightParameters]:
    """Quantize every layer's weight, in call order; needs no images, so it serves all draws.

    Raises:
        InputError: the method names a layer that the model does not have.
    """
    _require_layers(prepared, method)
    method = method.of_layers([layer.name for layer in prepared.layers])
    quantized = {}
    for layer in prepared.layers:
        scheme = method.weight_scheme_of(layer.name)
        weight = torch.from_numpy(prepared.weight(layer.name))
        channels = len(weight)
        one_scale = method.weight_granularity == "per_tensor"
        rows = weight.reshape(1 if one_scale else channels, -1)
        low, high = method.weight_range.weight_range(rows, scheme)
        qparams = choose_qparams(low.expand(channels), high.expand(channels), scheme)
        quantized[layer.name] = WeightParameters(
            quantize(weight, qparams).numpy(),
            qparams.scale.numpy(),
            qparams.zero_point.numpy(),
            scheme,
        )
    return quantized


def activations_from(
    statistics: Mapping[str, InputStatistics],
    method: MethodSpec,
    prepared: PreparedModel | None = None,
) -> dict[str, ActivationParameters]:
    """Choose scale and zero point of every layer's input from its statistics, by layer or operand.

    ``prepared`` knows which layers are first and last, and which places are operands.

    Integer kernels multiply two activations only without zero points, so an operand of such a
    product (see `PreparedModel.operands`) is signed and symmetric, or unsigned from zero when it
    was never negative.
    """
    operands: tuple[str, ...] = ()
    if prepared is not None:
        method = method.of_layers([layer.name for layer in prepared.layers])
        operands = prepared.operands
    chosen = {}
    for name, known in statistics.items():
        scheme = method.activation_scheme_of(name)
        if name in operands:
            scheme = replace(scheme, symmetric=known.minimum < 0.0)
        low, high = method.activation_range.input_range(known, scheme)
        qparams = choose_qparams(torch.tensor(low), torch.tensor(high), scheme)
        chosen[name] = ActivationParameters(
            float(qparams.scale),
            int(qparams.zero_point),
            scheme,
            all_zero=known.minimum == 0.0 == known.maximum,
        )
    return chosen


def calibrate(
    prepared: PreparedModel,
    batches: Batches,
    method: MethodSpec,
    weights: Mapping[str, WeightParameters] | None = None,
) -> QuantizationParameters:
    """Quantize weights, unless they are at hand, and calibrate activations.

    ``minmax`` makes one pass over the float32 batches ``(n, C, H, W)``, the others two. Not safe to
    use from several threads at once.

    Raises:
        InputError: there are no images, a batch is not float32, or a layer's input is not finite.
    """
    weights = quantize_weights(prepared, method) if weights is None else weights
    needed = method.activation_range.needs_histogram
    statistics = collect_statistics(prepared, batches, needed)
    return combine(weights, activations_from(statistics, method, prepared))


def combine(
    weights: Mapping[str, WeightParameters], activations: Mapping[str, ActivationParameters]
) -> QuantizationParameters:
    """Put weights and activations together; what has no weight quantizes an output.

    Raises:
        InputError: a layer has no activation.
    """
    missing = sorted(set(weights) - set(activations))
    if missing:
        raise InputError(f"weights and activations are of different layers: {missing[0]!r}")
    return QuantizationParameters(
        {name: LayerParameters(weights[name], activations[name]) for name in weights},
        outputs={name: activations[name] for name in activations if name not in weights},
    )


def _require_layers(prepared: PreparedModel, method: MethodSpec) -> None:
    known = set(prepared.first_readers)
    for key in ("layer_weight_bits", "layer_activation_bits"):
        unknown = sorted(set(getattr(method, key)) - known)
        if unknown:
            raise InputError(f"method nearest: {key}: the model has no layer {unknown[0]!r}")


def as_tensor_batches(images: np.ndarray, batch_size: int = 32) -> list[Tensor]:
    """Split preprocessed float32 images ``(n, C, H, W)`` into tensors that share their memory.

    Small batches stay in the CPU's caches and are the fastest. A single image left over joins the
    batch before it: kernels treat a batch of one differently, and its values differ in their last
    bit.
    """
    images = np.ascontiguousarray(images, np.float32)
    count = len(images)
    starts = list(range(0, count, batch_size))
    if batch_size > 1 and count > batch_size and count % batch_size == 1:
        starts.pop()
    ends = [*starts[1:], count]
    return [torch.from_numpy(images[a:b]) for a, b in zip(starts, ends, strict=False)]
