"""QuantizeLinear and DequantizeLinear put into a float graph, from the engine's own table.

- *input of a layer*: ``x -> QuantizeLinear -> DequantizeLinear``, uint8 with the engine's scale and
  zero point. Below 8 bits a ``Clip`` to the reals that the few codes stand for comes first: on the
  clipped range the 8-bit grid and the engine's grid are the same.
- *weight*: the engine's codes as they are, int8, with a DequantizeLinear per output channel.
- *bias*: int32 with scale ``s_x * s_w``, see `ptq_pipeline.ptq.biases`.

With ``int4`` what has 4 bits or fewer is stored in ONNX's 4-bit types instead, from opset 21 on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq.biases import IntegerBias, integer_form
from ptq_pipeline.ptq.export.facts import add_metadata
from ptq_pipeline.ptq.export.float_graph import (
    DEFAULT_OPSET,
    FloatGraph,
    float_graph,
    is_transposed,
)
from ptq_pipeline.ptq.parameters import (
    ActivationParameters,
    LayerParameters,
    QuantizationParameters,
)
from ptq_pipeline.ptq.places import graph_source
from ptq_pipeline.ptq.preparation import PreparedModel

INT4_OPSET = 21


def export_onnx(
    prepared: PreparedModel,
    parameters: QuantizationParameters | None,
    metadata: Mapping[str, str] | None = None,
    opset: int = DEFAULT_OPSET,
    int4: bool = False,
) -> bytes:
    """Return a model as an ONNX file; equal inputs give equal bytes.

    Args:
        prepared: the model.
        parameters: None exports the folded float model.
        metadata: what the file says about its origin, for example ``trial_id``.
        opset: version of ONNX's operator set, from 18; ``int4`` needs 21.
        int4: store what has 4 bits or fewer in ONNX's 4-bit types.

    Raises:
        InputError: the opset cannot hold the model, or the model cannot be exported.
    """
    if int4 and opset < INT4_OPSET:
        raise InputError(
            f"onnx: 4-bit types need opset {INT4_OPSET} or newer, got {opset}; raise the opset or "
            "leave int4 out"
        )
    graph = float_graph(*graph_source(prepared, parameters), opset)
    if parameters is None:
        model = onnx.ModelProto()
        model.CopyFrom(graph.model)
    else:
        model = quantized_graph(graph, prepared, parameters, int4)
    add_metadata(model, parameters, metadata)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def quantized_graph(
    graph: FloatGraph,
    prepared: PreparedModel,
    parameters: QuantizationParameters,
    int4: bool = False,
) -> Any:
    """Return a quantized copy of a float graph with marks for the parameters' outputs."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    parameters, biases = integer_form(prepared, parameters)
    writer = _Writer(model, biases, int4)
    for node in graph.model.graph.node:
        if node.name in graph.marks:
            activation = parameters.outputs[graph.marks[node.name]]
            writer.replace_mark(node, activation)
        elif node.name in graph.layers:
            name = graph.layers[node.name]
            writer.quantize_layer(node, name, parameters.layers[name])
        else:
            writer.nodes.append(node)
    writer.finish()
    return model


class _Writer:
    """Builds the node list of a quantized graph in order."""

    def __init__(self, model: Any, biases: Mapping[str, IntegerBias], int4: bool) -> None:
        self.model = model
        self.biases = biases
        self.int4 = int4
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.floats = {entry.name: entry for entry in model.graph.initializer}
        self._quantized: dict[tuple[str, ActivationParameters], str] = {}
        self._renamed: dict[str, str] = {}
        self._inputs: dict[str, dict[str, str]] = {}
        self._written: set[str] = set()

    def quantize_layer(self, node: Any, name: str, layer: LayerParameters) -> None:
        """Append a layer with quantized input, weight and bias."""
        written = self._copy(node)
        if layer.activation is not None:
            written.input[0] = self._quantize(written.input[0], layer.activation)
        written.input[1] = self._weight(node, name, layer)
        if name in self.biases:
            if len(node.input) > 2 and node.input[2]:
                written.input[2] = self._bias(name)
            # The exporter leaves a bias of zeros out.
            elif self.biases[name].real.any():
                self._biased_product(node, name)
        self.nodes.append(written)

    def replace_mark(self, node: Any, activation: ActivationParameters) -> None:
        """Append the quantizer of an output, and let all readers of the mark read it."""
        source = self._renamed.get(node.input[0], node.input[0])
        self._renamed[node.output[0]] = self._quantize(source, activation)

    def finish(self) -> None:
        """Write nodes and constants into the model; what nobody reads any more is left out."""
        nodes = [self._copy(node) for node in self.nodes]
        # A marked output that is the model's own keeps its name.
        for entry in self.model.graph.output:
            if entry.name in self._renamed:
                source = self._renamed[entry.name]
                nodes.append(helper.make_node("Identity", [source], [entry.name]))
        read = {name for node in nodes for name in node.input}
        kept = [entry for name, entry in self.floats.items() if name in read]
        del self.model.graph.node[:]
        del self.model.graph.initializer[:]
        self.model.graph.node.extend(nodes)
        self.model.graph.initializer.extend(kept)
        self.model.graph.initializer.extend(self.constants.values())

    def _copy(self, node: Any) -> Any:
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        renamed = self._renamed | self._inputs.get(node.name, {})
        for index, name in enumerate(copied.input):
            copied.input[index] = renamed.get(name, name)
        return copied

    def _quantize(self, source: str, activation: ActivationParameters) -> str:
        key = (source, activation)
        if key in self._quantized:
            return self._quantized[key]
        number = sum(each == source for each, _ in self._quantized)
        stem = f"{source}/quantized" + (f"_{number}" if number else "")
        scheme = activation.scheme
        stored = self.int4 and scheme.bits == 4
        kind = ("INT" if scheme.symmetric else "UINT") + ("4" if stored else "8")
        stored_scale = self._constant(f"{stem}/step", np.array(activation.scale, np.float32))
        zero = self._integer(f"{stem}/zero_point", np.array(activation.zero_point), kind)
        given = source
        if scheme.bits < 8 and not stored:
            scale = np.float32(activation.scale)
            ends = [
                self._constant(f"{stem}/{end}", np.float32(code - activation.zero_point) * scale)
                for end, code in (("low", scheme.qmin), ("high", scheme.qmax))
            ]
            given = self._node("Clip", [source, *ends], f"{stem}/clipped")
        codes = self._node("QuantizeLinear", [given, stored_scale, zero], f"{stem}/codes")
        output = self._node("DequantizeLinear", [codes, stored_scale, zero], stem)
        self._quantized[key] = output
        return output

    def _weight(self, node: Any, name: str, layer: LayerParameters) -> str:
        output = f"{name}.weight/dequantized"
        if output in self._written:
            return output
        weight = layer.weight
        codes, zero_point = weight.centered()
        kind, axis = "INT8" if zero_point is None else "UINT8", 0
        if self.int4 and codes.size and -8 <= codes.min() and codes.max() <= 7:
            kind = "INT4"
        if is_transposed(node):
            codes, axis = codes.T, 1
        zero = np.zeros(len(weight.scale)) if zero_point is None else zero_point
        inputs = [
            self._integer(f"{name}.weight/codes", codes, kind),
            self._constant(f"{name}.weight/step", weight.scale),
            self._integer(f"{name}.weight/zero_point", zero, kind),
        ]
        return self._node("DequantizeLinear", inputs, output, axis=axis)

    def _bias(self, name: str) -> str:
        output = f"{name}.bias/dequantized"
        if output in self._written:
            return output
        bias = self.biases[name]
        inputs = [
            self._integer(f"{name}.bias/codes", bias.codes, "INT32"),
            self._constant(f"{name}.bias/step", bias.scale),
        ]
        return self._node("DequantizeLinear", inputs, output, axis=0)

    def _biased_product(self, node: Any, name: str) -> None:
        """Quantize the bias of a linear layer that was exported as MatMul and Add."""
        real = self.biases[name].real
        for reader in self.model.graph.node:
            if reader.op_type == "Add" and node.output[0] in reader.input:
                bias = next(each for each in reader.input if each != node.output[0])
                known = self.floats.get(bias)
                if known is None or not np.array_equal(
                    numpy_helper.to_array(known).reshape(-1), real
                ):
                    continue
                # Only this reader: the exporter shares equal arrays between layers.
                self._inputs[reader.name] = {bias: self._bias(name)}
                return
        raise InputError(f"onnx: the bias of layer {name!r} is not found in the exported graph")

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        node = helper.make_node(kind, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
        self._written.add(output)
        return output

    def _constant(self, name: str, value: np.ndarray | np.generic) -> str:
        array = np.ascontiguousarray(value)
        self.constants[name] = numpy_helper.from_array(array.reshape(np.shape(value)), name)
        return name

    def _integer(self, name: str, values: np.ndarray, kind: str) -> str:
        dtype = helper.tensor_dtype_to_np_dtype(getattr(onnx.TensorProto, kind))
        return self._constant(name, values.astype(dtype))
