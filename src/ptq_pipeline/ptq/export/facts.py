"""What an exported file says about itself, and what can be read back from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.parameters import QuantizationParameters

_PREFIX = "ptq_pipeline."


def add_metadata(
    model: Any, parameters: QuantizationParameters | None, metadata: Mapping[str, str] | None
) -> None:
    """Write facts about origin and needs into a model, sorted."""
    entries = dict(metadata or {})
    entries["requires"] = json.dumps(_requirements(model, parameters), sort_keys=True)
    if parameters is not None:
        entries["parameters_sha256"] = _fingerprint(parameters)
    onnx.helper.set_model_props(model, {_PREFIX + key: entries[key] for key in sorted(entries)})


def _requirements(model: Any, parameters: QuantizationParameters | None) -> dict[str, Any]:
    """Return what a consumer must support to execute a file as it was audited."""
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    needed: dict[str, Any] = {
        "opset": opset,
        "operators": sorted({node.op_type for node in model.graph.node}),
    }
    if parameters is None:
        return needed
    weight_bits = sorted({layer.weight.scheme.bits for layer in parameters.layers.values()})
    inputs = [layer.activation for layer in parameters.layers.values()]
    activations = [each for each in (*inputs, *parameters.outputs.values()) if each is not None]
    types = {entry.name: entry.data_type for entry in model.graph.initializer}
    stored = sorted(
        {types[n.input[2]] for n in model.graph.node if n.op_type == "QuantizeLinear"}
        | {
            types[n.input[0]]
            for n in model.graph.node
            if n.input[0] in types and "Deq" in n.op_type
        }
    )
    names = {value: name.lower() for name, value in onnx.TensorProto.DataType.items()}
    return needed | {
        "integer_types": [names[each] for each in stored],
        "weight_bits": weight_bits,
        "weight_steps": "per output channel",
        "activation_bits": sorted({each.scheme.bits for each in activations}),
        "activation_steps": "per tensor",
        "clip_in_front_of_quantizers": any(
            node.op_type == "Clip" and node.name.endswith("/clipped") for node in model.graph.node
        ),
        "rounding": "half to even",
    }


def _fingerprint(parameters: QuantizationParameters) -> str:
    """Return the SHA-256 of everything that quantization decided, in call order."""
    digest = hashlib.sha256()
    for name, layer in parameters.layers.items():
        weight = layer.weight
        digest.update(f"{name} {weight.scheme} {layer.activation}".encode())
        for array in (weight.codes, weight.scale, weight.zero_point):
            digest.update(np.ascontiguousarray(array).tobytes())
    for name, activation in parameters.outputs.items():
        digest.update(f"{name} {activation}".encode())
    for name, value in parameters.overrides.items():
        digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def metadata_of(content: bytes) -> dict[str, str]:
    """Return what an exported file says about itself, without the prefix of its keys."""
    model = onnx.load_from_string(content)
    return {
        entry.key.removeprefix(_PREFIX): entry.value
        for entry in model.metadata_props
        if entry.key.startswith(_PREFIX)
    }


def require_one_file(content: bytes) -> None:
    """Refuse a model that keeps tensors in files of their own, which no hash of the model covers.

    Raises:
        InputError: it refers to another file, or is no ONNX file.
    """
    try:
        model = onnx.load_from_string(content)
    except DecodeError as error:
        raise InputError(f"it is no ONNX model ({error})") from None
    for message in _messages(model):
        if (
            isinstance(message, onnx.TensorProto)
            and message.data_location == onnx.TensorProto.EXTERNAL
        ):
            where = {entry.key: entry.value for entry in message.external_data}.get("location", "?")
            raise InputError(
                f"its tensor '{message.name}' is in another file, '{where}', which no hash of "
                "the model covers; save the model as one file (onnx.save does)"
            )


def _messages(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and all inside it, subgraphs and functions included."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _messages(inner)
