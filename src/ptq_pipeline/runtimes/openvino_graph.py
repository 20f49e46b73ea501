"""OpenVINO graphs of quantized models: convert once, match layers, insert quantizers.

OpenVINO runs a layer in integers when its input comes from a FakeQuantize of 256 levels and its
weight from int8 constants with a step per channel. Both hold for every width from 2 to 8 bits:

- *input*: ``Clamp`` to the reals that the few codes stand for, then a FakeQuantize of 256 levels
  with the same step and zero point. Inside the clamped range the two grids are the same, and a
  FakeQuantize of, say, 64 levels would drop the layer to float. 8 bits need no clamp.
- *weight*: the engine's own codes as an int8 constant, converted and multiplied by the steps.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import torch

from ptq_pipeline.errors import InputError
from ptq_pipeline.ptq import (
    ActivationParameters,
    LayerParameters,
    PreparedModel,
    QuantizationParameters,
)

LEVELS = 256
MULTIPLYING_OPS = frozenset({"Convolution", "GroupConvolution", "MatMul"})
MODULE_PREFIX = "__module."
BIAS_SUFFIX = "/bias"


def import_openvino() -> Any:
    """Import OpenVINO so that nothing phones home.

    It reports imports and conversions through the package ``openvino_telemetry``, and uses a stub
    of its own when that cannot be imported; None in ``sys.modules`` makes the import fail.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


def convert(prepared: PreparedModel) -> Any:
    """Convert the float model; batch size is left open, layers get their torch names.

    Args:
        prepared: the model.

    Returns:
        An ``openvino.Model`` whose convolutions and matrix products are named like the layers
        (``name@2`` and so on for further calls of the same layer).

    Raises:
        InputError: a layer has no counterpart with the same weight, or the graph multiplies
            somewhere else; the message names it.
    """
    openvino = import_openvino()
    example = torch.zeros(2, *prepared.input_shape, device=prepared.device)
    with warnings.catch_warnings():
        # torch.jit.trace announces its retirement on every call.
        warnings.simplefilter("ignore")
        model = openvino.convert_model(
            prepared.module,
            example_input=example,
            input=[openvino.PartialShape([-1, *prepared.input_shape])],
        )
    _name_layers(model, prepared)
    return model


def quantized(model: Any, prepared: PreparedModel, parameters: QuantizationParameters) -> Any:
    """Return a copy of a converted model with quantizers in front of every layer.

    Args:
        model: result of `convert`; not changed.
        prepared: the model it was made from.
        parameters: integers and steps of every layer.

    Raises:
        InputError: parameters with asymmetric weights, which this runtime does not execute.
    """
    copied = model.clone()
    calls = call_names(prepared)
    inputs: dict[Any, Any] = {}
    for operation in copied.get_ordered_ops():
        layer = calls.get(operation.get_friendly_name())
        if layer is None or operation.get_type_name() not in MULTIPLYING_OPS:
            continue
        chosen = parameters.layers[layer]
        source = operation.input_value(0)
        # Two layers that read one tensor on the same grid share one quantizer.
        key = (source.get_node().get_name(), source.get_index(), chosen.activation)
        if key not in inputs:
            inputs[key] = _input_quantizer(source, chosen.activation)
        operation.input(0).replace_source_output(inputs[key])
        operation.input(1).replace_source_output(_weight(layer, operation, chosen))
    copied.validate_nodes_and_infer_types()
    return copied


def call_names(prepared: PreparedModel) -> dict[str, str]:
    """Return the name of every layer call in a converted graph, and which layer it calls."""
    return {
        name: layer.name
        for layer in prepared.layers
        for name in [layer.name, *(f"{layer.name}@{call + 1}" for call in range(1, layer.calls))]
    }


def _name_layers(model: Any, prepared: PreparedModel) -> None:
    expected = {layer.name: layer.calls for layer in prepared.layers}
    found: dict[str, int] = dict.fromkeys(expected, 0)
    for operation in model.get_ordered_ops():
        if operation.get_type_name() not in MULTIPLYING_OPS:
            continue
        friendly = operation.get_friendly_name()
        name = friendly.removeprefix(MODULE_PREFIX).split("/")[0]
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
    # Codes of the 256-level grid run from `qmin`, so `zero_point` means the same on both.
    low = (scheme.qmin - activation.zero_point) * scale
    high = (scheme.qmin + LEVELS - 1 - activation.zero_point) * scale
    if scheme.qmax - scheme.qmin + 1 < LEVELS:
        top = (scheme.qmax - activation.zero_point) * scale
        source = ops.clamp(source, float(low), float(top)).output(0)
    low, high = ops.constant(np.float32(low)), ops.constant(np.float32(high))
    return ops.fake_quantize(source, low, high, low, high, LEVELS).output(0)


def _weight(name: str, operation: Any, layer: LayerParameters) -> Any:
    openvino = import_openvino()
    ops = openvino.opset13
    weight = layer.weight
    if not weight.scheme.symmetric:
        raise InputError(f"openvino: layer {name!r} has asymmetric weights; use symmetric ones")
    shape = tuple(operation.input_value(1).get_shape())
    codes, scale = weight.codes, weight.scale
    if _is_transposed(operation):
        codes, steps = codes.T, scale.reshape(1, -1)
    elif operation.get_type_name() == "GroupConvolution":
        steps = scale.reshape(*shape[:2], *[1] * (len(shape) - 2))
    else:
        steps = scale.reshape(-1, *[1] * (len(shape) - 1))
    constant = ops.constant(np.ascontiguousarray(codes.reshape(shape)))
    real = ops.convert(constant, np.float32)
    return ops.multiply(real, ops.constant(np.ascontiguousarray(steps))).output(0)
