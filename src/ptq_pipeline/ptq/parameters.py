"""What quantization decided: integers, scales and zero points, as data with a round trip to arrays.

`QuantizationParameters` is all that a runtime needs beside the prepared model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.quantizer import IntegerScheme, column

NOTES = ":notes"


@dataclass(frozen=True, eq=False)
class WeightParameters:
    """Integers of one layer's weight: ``w = scale * (codes - zero_point)`` per channel.

    ``codes`` is int8 ``(C_out, ...)``, ``scale`` float32 and ``zero_point`` int32 ``(C_out,)``.
    """

    codes: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    scheme: IntegerScheme

    def dequantized(self) -> np.ndarray:
        """Return the weight as float32 ``(C_out, ...)``."""
        zero = column(self.zero_point, self.codes).astype(np.float32)
        return (self.codes.astype(np.float32) - zero) * column(self.scale, self.codes)

    def centered(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return codes of the same weight as integer kernels take them, and their zero point.

        That is int8 codes and None, if ``codes - zero_point`` fits int8: always below 8 bits. If
        not, the uint8 codes, and uint8 ``(C_out,)``.
        """
        shifted = self.codes.astype(np.int32) - column(self.zero_point, self.codes)
        if shifted.size == 0 or (shifted.min() >= -128 and shifted.max() <= 127):
            return shifted.astype(np.int8), None
        return self.codes.astype(np.uint8), self.zero_point.astype(np.uint8)


@dataclass(frozen=True)
class ActivationParameters:
    """Scale (a float32 as a Python float) and zero point of one layer's input.

    With ``all_zero`` every calibration value was zero: nothing is known of the range, and the scale
    is 1.
    """

    scale: float
    zero_point: int
    scheme: IntegerScheme
    all_zero: bool = False


@dataclass(frozen=True, eq=False)
class LayerParameters:
    """Everything that quantization decided about one layer.

    ``activation`` quantizes the layer's input. It is None when the layer reads a tensor that is
    quantized already, where it was made: ``reads`` then names that output, one of
    ``QuantizationParameters.outputs``.
    """

    weight: WeightParameters
    activation: ActivationParameters | None
    reads: str | None = None


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A quantized model that another tool wrote; runtimes execute it as it is.

    Attributes:
        tool: name and version of what wrote it.
        format: ``onnx`` or ``openvino``.
        parts: content by file name, the one to load first in front.
    """

    tool: str
    format: str
    parts: Mapping[str, bytes]


@dataclass(frozen=True, eq=False)
class QuantizationParameters:
    """The result of calibration: what a runtime needs beside the prepared model.

    Attributes:
        layers: by name, in call order.
        overrides: float parameters and buffers that the method replaced, by dotted name.
        outputs: quantizers on what a module returns, by its dotted name: operands of products of
            activations, and outputs of blocks.
        notes: fallbacks that the method took, one sentence each.
        file: a model that another tool quantized; then there is nothing else, and the file itself
            is what is kept, not `to_arrays`.
    """

    layers: Mapping[str, LayerParameters]
    overrides: Mapping[str, np.ndarray] = field(default_factory=dict)
    outputs: Mapping[str, ActivationParameters] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    file: ModelFile | None = None

    def input_of(self, layer: str) -> ActivationParameters | None:
        """Return the quantizer of what a layer reads, there or where it is made."""
        found = self.layers[layer]
        return found.activation or self.outputs.get(found.reads or "")

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """What belongs into the record of a trial: `notes`, and a sentence on inputs of zeros."""
        zeros = (
            f"layer {name!r}: its input was 0 on every calibration image, so its scale is 1"
            for name, layer in self.layers.items()
            if layer.activation and layer.activation.all_zero
        )
        return (*self.notes, *zeros)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return flat named arrays, as safetensors takes them; `from_arrays` is the inverse.

        Per layer: ``<name>:codes`` int8, ``<name>:scale`` float32 ``(C_out,)``,
        ``<name>:zero_point`` int32 ``(C_out,)``, ``<name>:activation_scale`` float32 ``(1,)`` if
        its input has a quantizer, ``<name>:facts`` int32 ``(8,)``: position in call order, weight
        bits, weight symmetric, activation bits, activation symmetric, activation zero point, all
        zero (these four are 0 without a quantizer), position of the quantized output that the layer
        reads (-1 for none). Per quantized output:
        ``<name>:output_scale`` float32 ``(1,)`` and ``<name>:output_facts`` int32 ``(5,)``. Per
        override: ``<name>:override``. Notes: ``:notes``, UTF-8 JSON as uint8.
        """
        arrays: dict[str, np.ndarray] = {}
        for index, (name, layer) in enumerate(self.layers.items()):
            weight, activation = layer.weight, layer.activation
            arrays[f"{name}:codes"] = weight.codes
            arrays[f"{name}:scale"] = weight.scale
            arrays[f"{name}:zero_point"] = weight.zero_point
            facts = [index, weight.scheme.bits, weight.scheme.symmetric]
            if activation is not None:
                arrays[f"{name}:activation_scale"] = np.array([activation.scale], np.float32)
            reads = -1 if layer.reads is None else list(self.outputs).index(layer.reads)
            facts = [*facts, *_activation_facts(activation), reads]
            arrays[f"{name}:facts"] = np.array(facts, np.int32)
        for index, (name, output) in enumerate(self.outputs.items()):
            arrays[f"{name}:output_scale"] = np.array([output.scale], np.float32)
            arrays[f"{name}:output_facts"] = np.array([index, *_activation_facts(output)], np.int32)
        for name, values in self.overrides.items():
            arrays[f"{name}:override"] = values
        if self.notes:
            arrays[NOTES] = np.frombuffer(json.dumps(list(self.notes)).encode(), np.uint8)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> QuantizationParameters:
        """Build parameters from the arrays of `to_arrays`, in any order.

        Raises:
            InputError: an array is missing; the message names it.
        """
        try:
            outputs = {
                name: _activation_from(
                    arrays[f"{name}:output_scale"], arrays[f"{name}:output_facts"][1:]
                )
                for name in _ordered(arrays, ":output_facts")
            }
            layers = {
                name: _layer_from(name, arrays, list(outputs))
                for name in _ordered(arrays, ":facts")
            }
        except KeyError as error:
            raise InputError(f"quantization parameters: array {error} is missing") from None
        suffix = ":override"
        overrides = {
            key.removesuffix(suffix): arrays[key] for key in sorted(arrays) if key.endswith(suffix)
        }
        notes = tuple(json.loads(arrays[NOTES].tobytes())) if NOTES in arrays else ()
        return cls(layers, overrides, outputs, notes)


def _ordered(arrays: Mapping[str, np.ndarray], suffix: str) -> list[str]:
    names = [key.removesuffix(suffix) for key in arrays if key.endswith(suffix)]
    return sorted(names, key=lambda name: int(arrays[name + suffix][0]))


def _activation_facts(activation: ActivationParameters | None) -> list[int]:
    if activation is None:
        return [0, 0, 0, 0]
    scheme = activation.scheme
    return [scheme.bits, scheme.symmetric, activation.zero_point, activation.all_zero]


def _activation_from(scale: np.ndarray, facts: np.ndarray) -> ActivationParameters:
    bits, symmetric, zero_point, all_zero = (int(fact) for fact in facts)
    scheme = IntegerScheme(bits, bool(symmetric))
    return ActivationParameters(float(scale[0]), zero_point, scheme, bool(all_zero))


def _layer_from(name: str, arrays: Mapping[str, np.ndarray], outputs: list[str]) -> LayerParameters:
    facts = arrays[f"{name}:facts"]
    weight = WeightParameters(
        arrays[f"{name}:codes"],
        arrays[f"{name}:scale"],
        arrays[f"{name}:zero_point"],
        IntegerScheme(int(facts[1]), bool(facts[2])),
    )
    activation = None
    if facts[3]:
        activation = _activation_from(arrays[f"{name}:activation_scale"], facts[3:7])
    # Files of the first engine do not say what a layer reads.
    reads = int(facts[7]) if len(facts) > 7 else -1
    return LayerParameters(weight, activation, None if reads < 0 else outputs[reads])
