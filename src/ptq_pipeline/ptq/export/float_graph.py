"""The folded float model as an ONNX graph whose nodes are matched to the engine's layers.

`torch.onnx.export` writes the graph, and beside each node the modules it comes from.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import onnx
import torch

from ptq_pipeline.core.errors import InputError, first_line
from ptq_pipeline.ptq.hooks import quiet
from ptq_pipeline.ptq.modules import write_nothing_in_place
from ptq_pipeline.ptq.places import Matcher, marked, once_a_model
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.routing import where

INPUT, OUTPUT, BATCH = "images", "logits", "batch"
# The oldest that torch exports to, and what most consumers read.
DEFAULT_OPSET = OLDEST_OPSET = 18
MARK = "LeakyRelu"
MULTIPLYING_OPS = frozenset({"Conv", "Gemm", "MatMul", "ConvTranspose", "Einsum"})
SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True, eq=False)
class FloatGraph:
    """A float ``onnx.ModelProto``, not to be changed, and where the engine's places are in it.

    ``layers`` holds the layer of each node that calls one, ``marks`` the module whose output a node
    marks, both by the node's name.
    """

    model: Any
    layers: Mapping[str, str]
    marks: Mapping[str, str]


@once_a_model
def float_graph(
    prepared: PreparedModel, outputs: tuple[str, ...] = (), opset: int = DEFAULT_OPSET
) -> FloatGraph:
    """Export the folded float model, with marks for the modules whose output gets a quantizer.

    Its input is ``images`` ``(batch, C, H, W)``, its output ``logits``.

    Raises:
        InputError: the opset is not supported, the exporter cannot export the model, a layer has
            no node with its weight, or something multiplies outside a layer.
    """
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise InputError(
            f"onnx: opset {opset} cannot be written; allowed are {OLDEST_OPSET} to {newest}"
        )
    module, marks = marked(prepared, outputs)
    # It takes torch's exporter twice as long.
    write_nothing_in_place(module)
    model = _exported(module.cpu(), prepared, opset)
    written = {entry.domain: entry.version for entry in model.opset_import}
    if written.get("") != opset:
        raise InputError(
            f"onnx: the model cannot be written in opset {opset}, only in {written.get('')}; ask "
            "for that one"
        )
    ends = [entry.type.tensor_type.shape.dim for entry in (*model.graph.input, *model.graph.output)]
    if any(dims[0].dim_param != BATCH for dims in ends):
        raise InputError(
            "onnx: the exported model has a fixed batch size; let no shape in the model's forward "
            "depend on the number of images"
        )
    graph = _matched(model, Matcher("onnx", prepared, marks))
    _strip(model)
    return graph


def _exported(module: torch.nn.Module, prepared: PreparedModel, opset: int) -> Any:
    # Two images: a batch of one would be taken for a constant.
    example = torch.zeros(2, *prepared.input_shape)
    batch = torch.export.Dim(BATCH)
    try:
        # The exporter's advice; what matters is checked afterwards.
        with (
            quiet("torch.onnx", "onnxscript", "onnx_ir"),
            warnings.catch_warnings(),
            _no_regions_without_autocast(),
        ):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=opset,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: batch},),
                verbose=False,
            )
    except Exception as error:
        # The exporter's own words come last.
        cause = error.__cause__ or error
        raise InputError(
            f"onnx: torch cannot export the model with an open batch ({first_line(cause)}); "
            "replace what its exporter does not know, or leave this model out"
        ) from error
    assert program is not None
    return program.model_proto


@contextmanager
def _no_regions_without_autocast() -> Iterator[None]:
    """Let a region that only switches autocast off be what is in it.

    The exporter makes a graph of its own of it, and no longer says where its nodes are from.
    """
    kind = torch.autocast
    enter, leave = kind.__enter__, kind.__exit__

    def entered(region: torch.autocast) -> Any:
        return enter(region) if region._enabled else region

    def left(region: torch.autocast, *found: Any) -> Any:
        return leave(region, *found) if region._enabled else None

    kind.__enter__, kind.__exit__ = entered, left  # type: ignore[method-assign]
    try:
        yield
    finally:
        kind.__enter__, kind.__exit__ = enter, leave  # type: ignore[method-assign]


def _matched(model: Any, places: Matcher) -> FloatGraph:
    constants = {entry.name: entry for entry in model.graph.initializer}
    layers: dict[str, str] = {}
    marks: dict[str, str] = {}
    for node in model.graph.node:
        scopes = _scopes(node)
        if node.op_type == MARK:
            mark = places.mark(scopes)
            if mark is not None:
                marks[node.name] = mark
        elif node.op_type in MULTIPLYING_OPS:
            module = where(scopes[1] if scopes[1:] else "")
            weight = None
            if len(node.input) > 1 and node.input[1] in constants:
                weight = onnx.numpy_helper.to_array(constants[node.input[1]])
                weight = weight.T if is_transposed(node) else weight
            layer = places.layer(f"{node.name!r} of {module}", scopes, weight)
            if layer is not None:
                layers[node.name] = layer
    places.require_all()
    return FloatGraph(model, layers, marks)


def _scopes(node: Any) -> list[str]:
    """Return the modules a node comes from, the innermost first."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            return list(reversed(ast.literal_eval(entry.value)))
    return []


def is_transposed(node: Any) -> bool:
    """Whether a node holds a linear weight as ``(C_in, C_out)`` instead of torch's order."""
    if node.op_type == "Gemm":
        return not any(each.name == "transB" and each.i for each in node.attribute)
    return bool(node.op_type == "MatMul")


def _strip(model: Any) -> None:
    """Take out what tells of the machine: source files, stack traces, names of classes."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for entry in (*model.graph.initializer, *model.graph.value_info):
        del entry.metadata_props[:]
    for entry in (*model.graph.input, *model.graph.output):
        del entry.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.ClearField("doc_string")
    # Shapes of what lies between are worked out again by every consumer.
    del model.graph.value_info[:]
    model.graph.name = "ptq_pipeline"
    model.producer_name = "ptq_pipeline"
    model.ClearField("producer_version")
