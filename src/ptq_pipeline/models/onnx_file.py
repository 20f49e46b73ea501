"""A float network from an ONNX file: converted to torch, so that the engine can quantize it.

The graph is simplified by onnxscript's optimizer first and converted by onnx2pytorch, an optional
package. Where ONNX Runtime is installed and the file says which images it takes, the answers of
both are compared before anything is audited.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from google.protobuf.message import DecodeError
from torch import Tensor, nn

from ptq_pipeline.core.errors import InputError, first_line
from ptq_pipeline.core.inputs import read_regular
from ptq_pipeline.models.onnx_operators import replace_operators
from ptq_pipeline.ptq.export import require_one_file

# Instead of a factory's dotted path.
ONNX_FILE = "onnx"
SUFFIX = ".onnx"
# Largest difference of outputs beside their own size; smaller ones than the second are taken for 0.
TOLERANCE, SMALLEST = 1e-3, 1e-6


def network_of_onnx(content: bytes, path: Path) -> nn.Module:
    """Convert the content of an ONNX file.

    Raises:
        InputError: The converter is not installed, the file keeps tensors elsewhere or is no
            classifier of images, or the network answers otherwise than the file.
    """
    if find_spec("onnx2pytorch") is None:
        raise InputError(
            f"float model '{path}': package 'onnx2pytorch' is not installed; pip install "
            "'ptq-pipeline[onnx]'"
        )
    try:
        require_one_file(content)
    except InputError as error:
        raise InputError(f"float model '{path}': {error}") from None
    given, taken = _parsed(content, path)
    refused: InputError | None = None
    for graph in _of_any_batch(given, taken):
        try:
            module = _converted(graph, path)
            replace_operators(module, _sides(taken, path))
            _compare(module, content, taken, path)
            return module
        except InputError as error:
            refused = refused or error
    batch = taken.type.tensor_type.shape.dim[0].dim_value
    way = f" (it is made for {batch} images at a time; export it with an open batch)"
    raise InputError(f"{refused}{way if batch else ''}")


def images_of_onnx(path: Path) -> tuple[int, int, int]:
    """Say which images the network of a file takes: channels, height, width; 0 for any.

    Raises:
        InputError: There is no such file, or it is no classifier of images.
    """
    try:
        content = read_regular(path)
    except FileNotFoundError:
        raise InputError(f"'{path}' does not exist; check the path") from None
    _, taken = _parsed(content, path)
    channels, height, width = _sides(taken, path)[1:]
    return channels, height, width


def _parsed(content: bytes, path: Path) -> tuple[onnx.ModelProto, onnx.ValueInfoProto]:
    """The graph of a file, and what it takes."""
    try:
        given = onnx.load_model_from_string(content)
    except DecodeError:
        raise InputError(f"float model '{path}' is no ONNX file, or is damaged") from None
    constants = {each.name for each in given.graph.initializer}
    inputs = [each for each in given.graph.input if each.name not in constants]
    if (len(inputs), len(given.graph.output)) != (1, 1):
        raise InputError(
            f"float model '{path}' has {len(inputs)} inputs and {len(given.graph.output)} outputs; "
            "a classifier of images has one of each"
        )
    return given, inputs[0]


def _sides(taken: onnx.ValueInfoProto, path: Path) -> list[int]:
    sides = [side.dim_value for side in taken.type.tensor_type.shape.dim]
    if len(sides) != 4:
        raise InputError(
            f"float model '{path}' has an input of {len(sides)} dimensions; images have four"
        )
    return sides


def _of_any_batch(given: onnx.ModelProto, taken: onnx.ValueInfoProto) -> Iterator[onnx.ModelProto]:
    """The graph for any number of images, in the ways that may do for a file made for one number.

    Exporters write that number into the input and output, from where optimizers carry it on, and
    into the shapes of reshapes.
    """
    batch = taken.type.tensor_type.shape.dim[0].dim_value
    if not batch:
        yield given
        return
    opened = onnx.ModelProto()
    opened.CopyFrom(given)
    graph = opened.graph
    own = (each for each in graph.input if each.name == taken.name)
    for value in (*own, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]
    yield opened
    constants = {each.name: each for each in graph.initializer}
    constants |= {
        each.output[0]: each.attribute[0].t
        for each in graph.node
        if each.op_type == "Constant" and each.attribute[0].name == "value"
    }
    for number, node in enumerate(each for each in graph.node if each.op_type == "Reshape"):
        if node.input[1] not in constants or node.input[0] in constants:
            continue
        shape = onnx.numpy_helper.to_array(constants[node.input[1]]).copy()
        if shape.size > 1 and shape[0] == batch:
            # As many as there are.
            shape[0], node.input[1] = 0, f"{node.input[1]} of any batch {number}"
            graph.initializer.append(onnx.numpy_helper.from_array(shape, node.input[1]))
    yield opened


def _converted(given: onnx.ModelProto, path: Path) -> nn.Module:
    import onnxscript.optimizer
    from onnx2pytorch import ConvertModel

    class Network(ConvertModel):
        """With one input by name: torch's exporter opens no batch of any number of inputs."""

        def forward(self, images: Tensor) -> Tensor:
            found: Tensor = super().forward(images)
            return found

    try:
        module = Network(onnxscript.optimizer.optimize(given), experimental=True)
    except Exception as error:  # the converter raises what it meets
        raise InputError(
            f"float model '{path}' cannot be converted to torch: {first_line(error)}; give a "
            "factory and its weights, or compare files (kedro ptq compare)"
        ) from error
    return module.eval().requires_grad_(False)


def _compare(module: nn.Module, content: bytes, given: Any, path: Path) -> None:
    """Hold the outputs on images of noise against those of ONNX Runtime, where it is here.

    There are twice as many as the file is made for, which ONNX Runtime gets in two parts.
    """
    batch, *sides = _sides(given, path)
    if 0 in sides:
        return
    images = np.random.default_rng(0).normal(size=(2 * (batch or 1), *sides)).astype(np.float32)
    try:
        with torch.inference_mode():
            found = module(torch.from_numpy(images)).numpy()
    except Exception as error:
        raise InputError(
            f"float model '{path}' was converted to a network that cannot run: {first_line(error)}"
        ) from error
    if find_spec("onnxruntime") is None:
        return
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    parts = np.split(images, 2 if batch else 1)
    expected = np.concatenate([session.run(None, {given.name: each})[0] for each in parts])
    differs = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
    # Not a number is no small difference.
    if not differs <= TOLERANCE * max(SMALLEST, float(np.abs(expected).max())):
        raise InputError(
            f"float model '{path}' was converted to a network that answers otherwise than ONNX "
            f"Runtime (outputs differ by {differs:.2g}); give a factory and its weights instead"
        )
