"""Calibration: from a prepared model and images to the integers and steps of every layer.

Weights need no images and are quantized once per model and method; the input of each layer needs
statistics of the float model on the calibration images.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from ptq_pipeline.errors import InputError
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.quantizer import IntegerScheme, choose_qparams, quantize
from ptq_pipeline.ptq.spec import MethodSpec, PerTensor
from ptq_pipeline.ptq.statistics import Batches, InputStatistics, collect_statistics


@dataclass(frozen=True, eq=False)
class WeightParameters:
    """Integers and steps of one layer's weight: ``w = scale * (codes - zero_point)`` per channel.

    Attributes:
        codes: int8 ``(C_out, ...)``.
        scale: float32 ``(C_out,)``.
        zero_point: int32 ``(C_out,)``.
        scheme: the integers used.
    """

    codes: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    scheme: IntegerScheme

    def dequantized(self) -> np.ndarray:
        """Return the weight as float32 ``(C_out, ...)``."""
        shape = (-1,) + (1,) * (self.codes.ndim - 1)
        shifted = self.codes.astype(np.float32) - self.zero_point.reshape(shape).astype(np.float32)
        return shifted * self.scale.reshape(shape)

    def centered(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return codes of the same weight as integer kernels take them.

        Returns:
            int8 codes with zero point 0, and None, if ``codes - zero_point`` fits int8: always
            below 8 bits. Otherwise the uint8 codes, and their zero point uint8 ``(C_out,)``.
        """
        shape = (-1,) + (1,) * (self.codes.ndim - 1)
        shifted = self.codes.astype(np.int32) - self.zero_point.reshape(shape)
        if shifted.size == 0 or (shifted.min() >= -128 and shifted.max() <= 127):
            return shifted.astype(np.int8), None
        return self.codes.astype(np.uint8), self.zero_point.astype(np.uint8)


@dataclass(frozen=True)
class ActivationParameters:
    """Step and zero point of one layer's input.

    Attributes:
        scale: the float32 step, as a Python float.
        zero_point: code of zero.
        scheme: the integers used.
        all_zero: every calibration value was zero, so nothing is known of the range; the step is 1.
    """

    scale: float
    zero_point: int
    scheme: IntegerScheme
    all_zero: bool = False


@dataclass(frozen=True, eq=False)
class LayerParameters:
    """Everything that quantization decided about one layer.

    Attributes:
        weight: integers and steps.
        activation: quantizer of the layer's input; None when it reads a tensor that is quantized
            already, where it was made.
    """

    weight: WeightParameters
    activation: ActivationParameters | None


@dataclass(frozen=True, eq=False)
class QuantizationParameters:
    """The result of calibration: what a runtime needs beside the prepared model.

    Attributes:
        layers: by layer name, in call order.
        overrides: float parameters and buffers of the prepared module that the method replaced, by
            dotted name.
        outputs: quantizers on what a module returns, by dotted name of the module: operands of
            products of activations, and outputs of blocks.
        notes: fallbacks, one sentence each; they belong into the record of the trial.
    """

    layers: Mapping[str, LayerParameters]
    overrides: Mapping[str, np.ndarray] = field(default_factory=dict)
    outputs: Mapping[str, ActivationParameters] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def all_zero_inputs(self) -> tuple[str, ...]:
        """Layers whose input was zero on every calibration image; a trial should record them."""
        return tuple(
            name
            for name, layer in self.layers.items()
            if layer.activation and layer.activation.all_zero
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return flat named arrays, as safetensors takes them; `from_arrays` is the inverse.

        Per layer: ``<name>:codes`` int8, ``<name>:scale`` float32 ``(C_out,)``,
        ``<name>:zero_point`` int32 ``(C_out,)``, ``<name>:activation_scale`` float32 ``(1,)``,
        ``<name>:facts`` int32 ``(7,)``: position in call order, weight bits, weight symmetric,
        activation bits, activation symmetric, activation zero point, all zero.
        """
        arrays: dict[str, np.ndarray] = {}
        for index, (name, layer) in enumerate(self.layers.items()):
            weight, activation = layer.weight, layer.activation
            arrays[f"{name}:codes"] = weight.codes
            arrays[f"{name}:scale"] = weight.scale
            arrays[f"{name}:zero_point"] = weight.zero_point
            arrays[f"{name}:activation_scale"] = np.array([activation.scale], np.float32)
            facts = [index, weight.scheme.bits, weight.scheme.symmetric]
            facts += [activation.scheme.bits, activation.scheme.symmetric]
            facts += [activation.zero_point, activation.all_zero]
            arrays[f"{name}:facts"] = np.array(facts, np.int32)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> QuantizationParameters:
        """Build parameters from the arrays of `to_arrays`, in any order.

        Raises:
            InputError: an array is missing; the message names it.
        """
        suffix = ":facts"
        names = [key.removesuffix(suffix) for key in arrays if key.endswith(suffix)]
        names.sort(key=lambda name: int(arrays[name + suffix][0]))
        layers = {}
        for name in names:
            try:
                layers[name] = _layer_from(name, arrays)
            except KeyError as error:
                raise InputError(f"quantization parameters: array {error} is missing") from None
        return cls(layers)


def quantize_weights(prepared: PreparedModel, method: MethodSpec) -> dict[str, WeightParameters]:
    """Quantize every layer's weight; needs no images, so one result serves all draws.

    Args:
        prepared: the model.
        method: bits, range estimator and granularity of the weights.

    Returns:
        One entry per layer, in call order.
    """
    scheme = method.weight_scheme
    quantized = {}
    for layer in prepared.layers:
        weight = torch.from_numpy(prepared.weight(layer.name))
        rows = weight.reshape(1 if _per_tensor(method) else len(weight), -1)
        low, high = method.weight_range.weight_range(rows, scheme)
        channels = (len(weight),)
        qparams = choose_qparams(low.expand(channels), high.expand(channels), scheme)
        quantized[layer.name] = WeightParameters(
            quantize(weight, qparams).numpy(),
            qparams.scale.numpy(),
            qparams.zero_point.numpy(),
            scheme,
        )
    return quantized


def calibrate_activations(
    prepared: PreparedModel, batches: Batches, method: MethodSpec
) -> dict[str, ActivationParameters]:
    """Choose step and zero point of every layer's input from images.

    Args:
        prepared: the model; not safe to use from several threads at once.
        batches: float32 ``(n, C, H, W)`` tensors, or a function that returns a new pass over them.
            ``minmax`` makes one pass, the others two.
        method: bits and range estimator of the activations.

    Returns:
        One entry per layer, in call order.

    Raises:
        InputError: there are no images, a batch is not float32, or a layer's input is not finite.
    """
    needed = method.activation_range.needs_histogram
    statistics = collect_statistics(prepared, batches, needed)
    return activations_from(statistics, method, prepared.operands)


def activations_from(
    statistics: Mapping[str, InputStatistics],
    method: MethodSpec,
    operands: Collection[str] = (),
) -> dict[str, ActivationParameters]:
    """Choose step and zero point of every layer's input from its statistics alone.

    Integer kernels multiply two activations only without zero points, so an operand of such a
    product is signed and symmetric, or unsigned from zero when it was never negative.

    Args:
        statistics: by layer or operand name; with histograms if the range estimator needs them.
        method: bits and range estimator of the activations.
        operands: names of `statistics` that are operands, see `PreparedModel.operands`.
    """
    chosen = {}
    for name, known in statistics.items():
        signed = name in operands and known.ranges.minimum < 0.0
        scheme = replace(method.activation_scheme, symmetric=signed)
        low, high = method.activation_range.input_range(known, scheme)
        qparams = choose_qparams(torch.tensor(low), torch.tensor(high), scheme)
        chosen[name] = ActivationParameters(
            float(qparams.scale),
            int(qparams.zero_point),
            scheme,
            all_zero=known.ranges.minimum == 0.0 == known.ranges.maximum,
        )
    return chosen


def calibrate(
    prepared: PreparedModel,
    batches: Batches,
    method: MethodSpec,
    weights: Mapping[str, WeightParameters] | None = None,
) -> QuantizationParameters:
    """Quantize weights and calibrate activations.

    Args:
        prepared: the model.
        batches: calibration images, as `calibrate_activations` takes them.
        method: what to do.
        weights: result of `quantize_weights` for the same model and method, when it is at hand.

    Returns:
        Parameters of every layer.

    Raises:
        InputError: as `calibrate_activations`.
    """
    weights = quantize_weights(prepared, method) if weights is None else weights
    activations = calibrate_activations(prepared, batches, method)
    return combine(weights, activations)


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


def _per_tensor(method: MethodSpec) -> bool:
    return isinstance(method.weight_granularity, PerTensor)


def _layer_from(name: str, arrays: Mapping[str, np.ndarray]) -> LayerParameters:
    _, bits, symmetric, input_bits, input_symmetric, zero_point, all_zero = (
        int(fact) for fact in arrays[f"{name}:facts"]
    )
    weight = WeightParameters(
        arrays[f"{name}:codes"],
        arrays[f"{name}:scale"],
        arrays[f"{name}:zero_point"],
        IntegerScheme(bits, bool(symmetric)),
    )
    activation = ActivationParameters(
        float(arrays[f"{name}:activation_scale"][0]),
        zero_point,
        IntegerScheme(input_bits, bool(input_symmetric)),
        bool(all_zero),
    )
    return LayerParameters(weight, activation)


def as_tensor_batches(images: np.ndarray, batch_size: int = 32) -> list[Tensor]:
    """Split float32 images ``(n, C, H, W)`` into tensors that share their memory.

    Args:
        images: preprocessed images.
        batch_size: images per tensor, the last one may be smaller. Small batches stay in the
            CPU's caches and are the fastest. A single image left over joins the batch before it:
            kernels treat a batch of one differently, and its values differ in their last bit.
    """
    images = np.ascontiguousarray(images, np.float32)
    count = len(images)
    starts = list(range(0, count, batch_size))
    if batch_size > 1 and count > batch_size and count % batch_size == 1:
        starts.pop()
    ends = [*starts[1:], count]
    return [torch.from_numpy(images[a:b]) for a, b in zip(starts, ends, strict=False)]
