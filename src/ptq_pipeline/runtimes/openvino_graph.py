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
found by marks (`places`), which their quantizers replace.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import torch
from torch import nn

from ptq_pipeline.core.errors import InputError, first_line
from ptq_pipeline.ptq import (
    ActivationParameters,
    LayerParameters,
    PreparedModel,
    QuantizationParameters,
)
from ptq_pipeline.ptq.biases import IntegerBias, integer_form
from ptq_pipeline.ptq.places import Matcher, fence, marked, once_a_model

# OpenVINO reports imports and conversions through a package of its own, and uses a stub where that
# cannot be imported: so nothing phones home.
if "openvino" not in sys.modules:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

LEVELS = 256
MULTIPLYING_OPS = frozenset({"Convolution", "GroupConvolution", "MatMul"})
MODULE_PREFIX = "__module."
BIAS_SUFFIX = "/bias"
MARK, MARK_PREFIX = "PRelu", "mark:"


@once_a_model
def convert(prepared: PreparedModel, outputs: tuple[str, ...] = ()) -> Any:
    """Convert the float model with marks for ``outputs``; the batch size is left open.

    Convolutions and matrix products of the ``openvino.Model`` are named like the layers, ``name@2``
    and so on for further calls of the same layer. Where the converter multiplies a scale beside a
    layer into its weight (networks without normalisation have some), it is kept from doing so.

    Raises:
        InputError: OpenVINO cannot convert it, a layer has no counterpart with the same weight, or
            the graph multiplies somewhere else; the message names it.
    """
    module, marks = marked(prepared, outputs)
    try:
        return _matched(_converted(module, prepared), Matcher("openvino", prepared, marks))
    except InputError as refused:
        fence(module, [layer.name for layer in prepared.layers])
        try:
            model = _matched(_converted(module, prepared), Matcher("openvino", prepared, marks))
        except InputError:
            raise refused from None
    for operation in model.get_ordered_ops():
        is_mark = operation.get_type_name() == MARK
        if is_mark and not operation.get_friendly_name().startswith(MARK_PREFIX):
            slope = operation.input_value(1).get_node()
            if slope.get_type_name() == "Constant" and (slope.get_data() == 1.0).all():
                operation.output(0).replace(operation.input_value(0))
    model.validate_nodes_and_infer_types()
    return model


def _converted(module: nn.Module, prepared: PreparedModel) -> Any:
    example = torch.zeros(2, *prepared.input_shape, device=prepared.device)
    try:
        with warnings.catch_warnings():
            # torch.jit.trace announces its retirement on every call.
            warnings.simplefilter("ignore")
            return openvino.convert_model(
                module,
                example_input=example,
                input=[openvino.PartialShape([-1, *prepared.input_shape])],
            )
    except Exception as error:  # a converter may fail with anything
        raise InputError(
            f"openvino: the model cannot be converted ({first_line(error)}); replace what its "
            "converter does not know, or leave this model out"
        ) from error


def _matched(model: Any, places: Matcher) -> Any:
    """Name every place in a converted graph."""
    for operation in model.get_ordered_ops():
        _name(operation, places)
    places.require_all()
    return model


def _name(operation: Any, places: Matcher) -> None:
    """Name an operation by the place that it is, if it is one."""
    friendly, kind = operation.get_friendly_name(), operation.get_type_name()
    # The dotted name of the module that it comes from.
    module = friendly.removeprefix(MODULE_PREFIX).split("/")[0]
    scopes = [module] if friendly.startswith(MODULE_PREFIX) else []
    if kind == MARK:
        output = places.mark(scopes)
        if output is not None:
            operation.set_friendly_name(_numbered(MARK_PREFIX + output, places.marked[output]))
    elif kind in MULTIPLYING_OPS:
        layer = places.layer(repr(friendly), scopes, _constant_weight(operation))
        if layer is None:
            # Operands of a product come from marks; as a float product it stays what it is.
            operation.set_friendly_name(module)
            return
        call = _numbered(layer, places.calls[layer])
        operation.set_friendly_name(call)
        # A fused bias may leave only its own name in the executed graph.
        for target in operation.output(0).get_target_inputs():
            if target.get_node().get_type_name() == "Add":
                target.get_node().set_friendly_name(call + BIAS_SUFFIX)


def _numbered(name: str, count: int) -> str:
    return name if count == 1 else f"{name}@{count}"


def _constant_weight(operation: Any) -> np.ndarray | None:
    constant = operation.input_value(1).get_node()
    if constant.get_type_name() != "Constant":
        return None
    values = constant.get_data()
    return np.atleast_2d(values).swapaxes(-1, -2) if _is_transposed(operation) else values


def quantized(model: Any, prepared: PreparedModel, parameters: QuantizationParameters) -> Any:
    """Return a copy of the result of `convert` with quantizers in front of every layer."""
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
        _numbered(layer.name, call): layer.name
        for layer in prepared.layers
        for call in range(1, layer.calls + 1)
    }


def _is_transposed(operation: Any) -> bool:
    """Whether a matrix product holds the weight as ``(C_in, C_out)`` instead of torch's order."""
    is_matmul = operation.get_type_name() == "MatMul"
    return is_matmul and not operation.get_attributes()["transpose_b"]


def _input_quantizer(source: Any, activation: ActivationParameters) -> Any:
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
            place.replace_source_output(ops.constant(rounded).output(0))
            return
    if bias.real.any():
        raise InputError(f"openvino: the bias of layer {layer!r} is not found after conversion")


def _weight(operation: Any, layer: LayerParameters) -> Any:
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
