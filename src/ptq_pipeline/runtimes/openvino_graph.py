"""OpenVINO graphs of quantized models: convert once, match layers, insert quantizers.

OpenVINO runs a layer in integers when its input comes from a FakeQuantize of 256 levels and its
weight from int8 constants with a scale per channel. Both hold for every width from 2 to 8 bits:

- *input*: ``Clamp`` to the reals that the few codes stand for, then a FakeQuantize of 256 levels
  with the same scale and zero point. Inside the clamped range the two grids are the same, and a
  FakeQuantize of, say, 64 levels would drop the layer to float. 8 bits need no clamp.
- *weight*: the engine's own codes as an int8 constant, converted and multiplied by the scales.
  Codes of an asymmetric grid are shifted by their zero point first, which fits int8 below 8 bits;
  at 8 bits the shift stays in the graph.

Operands of products of activations, and outputs that a method quantizes where they are made, are
found by marks (`marking`), which their quantizers replace.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import (
    ActivationParameters,
    LayerParameters,
    PreparedModel,
    QuantizationParameters,
    overridden,
)
from ptq_pipeline.ptq.biases import IntegerBias, integer_form
from ptq_pipeline.ptq.marking import marked

LEVELS = 256
MULTIPLYING_OPS = frozenset({"Convolution", "GroupConvolution", "MatMul"})
MODULE_PREFIX = "__module."
BIAS_SUFFIX = "/bias"
MARK, MARK_PREFIX = "PRelu", "mark:"


def import_openvino() -> Any:
    """Import OpenVINO so that nothing phones home.

    It reports imports and conversions through the package ``openvino_telemetry``, and uses a stub
    of its own when that cannot be imported; None in ``sys.modules`` makes the import fail.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


class Converted:
    """Float graphs of prepared models, converted once for each set of marks.

    A trial whose method replaced float parameters converts its own.
    """

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[PreparedModel, dict[tuple[str, ...], Any]]
        self._known = WeakKeyDictionary()

    def graph(self, prepared: PreparedModel, parameters: QuantizationParameters | None) -> Any:
        """Return the graph of the quantized model, or of the float model without parameters.

        Raises:
            InputError: as `convert` and `quantized`.
        """
        if parameters is None:
            return self._float(prepared, ())
        outputs = tuple(parameters.outputs)
        if parameters.overrides:
            prepared = overridden(prepared, parameters.overrides)
            return quantized(convert(prepared, outputs), prepared, parameters)
        return quantized(self._float(prepared, outputs), prepared, parameters)

    def _float(self, prepared: PreparedModel, outputs: tuple[str, ...]) -> Any:
        known = self._known.setdefault(prepared, {})
        if outputs not in known:
            known[outputs] = convert(prepared, outputs)
        return known[outputs]


def convert(prepared: PreparedModel, outputs: Sequence[str] = ()) -> Any:
    """Convert the float model; batch size is left open, layers get their torch names.

    Args:
        prepared: the model.
        outputs: dotted names of modules whose output gets a mark.

    Returns:
        An ``openvino.Model`` whose convolutions and matrix products are named like the layers
        (``name@2`` and so on for further calls of the same layer).

    Raises:
        InputError: a layer has no counterpart with the same weight, or the graph multiplies
            somewhere else; the message names it.
    """
    openvino = import_openvino()
    example = torch.zeros(2, *prepared.input_shape, device=prepared.device)
    module, marks = marked(prepared, outputs)
    with warnings.catch_warnings():
        # torch.jit.trace announces its retirement on every call.
        warnings.simplefilter("ignore")
        model = openvino.convert_model(
            module,
            example_input=example,
            input=[openvino.PartialShape([-1, *prepared.input_shape])],
        )
    _name_layers(model, prepared)
    _name_marks(model, marks)
    return model


def quantized(model: Any, prepared: PreparedModel, parameters: QuantizationParameters) -> Any:
    """Return a copy of a converted model with quantizers in front of every layer.

    Args:
        model: result of `convert`; not changed.
        prepared: the model it was made from.
        parameters: integers and scales of every layer.

    """
    copied = model.clone()
    calls = call_names(prepared)
    parameters, biases = integer_form(prepared, parameters)
    inputs: dict[Any, Any] = {}
    for operation in copied.get_ordered_ops():
        name = operation.get_friendly_name()
        if name.startswith(MARK_PREFIX):
            activation = parameters.outputs[name.removeprefix(MARK_PREFIX).split("@")[0]]
            quantizer = _input_quantizer(operation.input_value(0), activation)
            operation.output(0).replace(quantizer)
            continue
        layer = calls.get(name)
        if layer is None or operation.get_type_name() not in MULTIPLYING_OPS:
            continue
        chosen = parameters.layers[layer]
        if chosen.activation is not None:
            source = operation.input_value(0)
            # Two layers that read one tensor on the same grid share one quantizer.
            key = (source.get_node().get_name(), source.get_index(), chosen.activation)
            if key not in inputs:
                inputs[key] = _input_quantizer(source, chosen.activation)
            operation.input(0).replace_source_output(inputs[key])
        operation.input(1).replace_source_output(_weight(operation, chosen))
        if layer in biases:
            _replace_bias(operation, biases[layer], layer)
    copied.validate_nodes_and_infer_types()
    return copied


def call_names(prepared: PreparedModel) -> dict[str, str]:
    """Return the name of every layer call in a converted graph, and which layer it calls."""
    return {
        name: layer.name
        for layer in prepared.layers
        for name in [layer.name, *(f"{layer.name}@{call + 1}" for call in range(1, layer.calls))]
    }


def product_names(prepared: PreparedModel) -> tuple[str, ...]:
    """Return the dotted names of all products of two activations, in call order."""
    return tuple(dict.fromkeys(operand.rpartition(".")[0] for operand in prepared.operands))


def _name_marks(model: Any, marks: Mapping[str, str]) -> None:
    found: Counter[str] = Counter()
    for operation in model.get_ordered_ops():
        name = _module_of(operation)
        if operation.get_type_name() == MARK and name in marks:
            output = marks[name]
            found[output] += 1
            again = f"@{found[output]}" if found[output] > 1 else ""
            operation.set_friendly_name(f"{MARK_PREFIX}{output}{again}")
    missing = set(marks.values()) - set(found)
    if missing:
        raise InputError(
            f"openvino: the output of module {min(missing)!r} is not found in the converted graph"
        )


def _module_of(operation: Any) -> str:
    """Return the dotted name of the module that an operation of a converted graph comes from."""
    return operation.get_friendly_name().removeprefix(MODULE_PREFIX).split("/")[0]


def _name_layers(model: Any, prepared: PreparedModel) -> None:
    expected = {layer.name: layer.calls for layer in prepared.layers}
    products = product_names(prepared)
    found: dict[str, int] = dict.fromkeys(expected, 0)
    for operation in model.get_ordered_ops():
        if operation.get_type_name() not in MULTIPLYING_OPS:
            continue
        friendly = operation.get_friendly_name()
        name = _module_of(operation)
        if name in products:
            # Its operands come from marks; as a float product it stays what it is.
            operation.set_friendly_name(name)
            continue
        if not friendly.startswith(MODULE_PREFIX) or name not in found:
            raise InputError(
                f"openvino: operation {friendly!r} belongs to no layer of the prepared model, so "
                "it would stay in float"
            )
        _require_weight(name, operation, prepared.weight(name))
        found[name] += 1
        call = name if found[name] == 1 else f"{name}@{found[name]}"
        operation.set_friendly_name(call)
        # A fused bias may leave only its own name in the executed graph.
        for target in operation.output(0).get_target_inputs():
            if target.get_node().get_type_name() == "Add":
                target.get_node().set_friendly_name(call + BIAS_SUFFIX)
    for name, calls in expected.items():
        if found[name] != calls:
            raise InputError(
                f"openvino: layer {name!r} runs {calls} times in torch and {found[name]} times in "
                "the converted graph"
            )


def _require_weight(name: str, operation: Any, weight: np.ndarray) -> None:
    constant = operation.input_value(1).get_node()
    if constant.get_type_name() != "Constant":
        raise InputError(
            f"openvino: the weight of layer {name!r} is not a constant after conversion"
        )
    values = constant.get_data()
    if _is_transposed(operation):
        weight = weight.T
    if values.size != weight.size or not np.array_equal(values.reshape(weight.shape), weight):
        raise InputError(
            f"openvino: the weight of layer {name!r} changed in conversion, so the integers of "
            "the engine would not fit it"
        )


def _is_transposed(operation: Any) -> bool:
    """Whether a matrix product holds the weight as ``(C_in, C_out)`` instead of torch's order."""
    is_matmul = operation.get_type_name() == "MatMul"
    return is_matmul and not operation.get_attributes()["transpose_b"]


def _input_quantizer(source: Any, activation: ActivationParameters) -> Any:
    openvino = import_openvino()
    ops = openvino.opset13
    scale = np.float32(activation.scale)
    scheme = activation.scheme
    # On the 256-level grid the codes and the zero point stand for the same reals.
    first = -LEVELS // 2 if scheme.symmetric else 0
    low = (first - activation.zero_point) * scale
    high = (first + LEVELS - 1 - activation.zero_point) * scale
    if scheme.qmax - scheme.qmin + 1 < LEVELS:
        bottom = (scheme.qmin - activation.zero_point) * scale
        top = (scheme.qmax - activation.zero_point) * scale
        source = ops.clamp(source, float(bottom), float(top)).output(0)
    low, high = ops.constant(np.float32(low)), ops.constant(np.float32(high))
    return ops.fake_quantize(source, low, high, low, high, LEVELS).output(0)


def _replace_bias(operation: Any, bias: IntegerBias, layer: str) -> None:
    """Let the addition behind a layer add the bias as integer kernels have it."""
    for target in operation.output(0).get_target_inputs():
        addition = target.get_node()
        if addition.get_type_name() != "Add":
            continue
        place = addition.input(1 - target.get_index())
        constant = place.get_source_output().get_node()
        if constant.get_type_name() != "Constant":
            continue
        values = constant.get_data()
        if np.array_equal(values.reshape(-1), bias.real):
            rounded = bias.dequantized().reshape(values.shape)
            place.replace_source_output(import_openvino().opset13.constant(rounded).output(0))
            return
    if bias.real.any():
        raise InputError(f"openvino: the bias of layer {layer!r} is not found after conversion")


def _weight(operation: Any, layer: LayerParameters) -> Any:
    openvino = import_openvino()
    ops = openvino.opset13
    codes, zero_point = layer.weight.centered()
    shape = tuple(operation.input_value(1).get_shape())

    def per_channel(values: np.ndarray) -> Any:
        if _is_transposed(operation):
            return ops.constant(np.ascontiguousarray(values.reshape(1, -1)))
        channels = shape[:2] if operation.get_type_name() == "GroupConvolution" else shape[:1]
        return ops.constant(values.reshape(*channels, *[1] * (len(shape) - len(channels))))

    codes = codes.T if _is_transposed(operation) else codes
    real = ops.convert(ops.constant(np.ascontiguousarray(codes.reshape(shape))), np.float32)
    if zero_point is not None:
        real = ops.subtract(real, per_channel(zero_point.astype(np.float32)))
    return ops.multiply(real, per_channel(layer.weight.scale)).output(0)
