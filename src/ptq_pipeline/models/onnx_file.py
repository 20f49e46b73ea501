"""A float network from an ONNX file: converted to torch, so that the engine can quantize it.

The graph is simplified by onnxscript's optimizer first and converted by onnx2pytorch, an optional
package. Where ONNX Runtime is installed and the file says which images it takes, the answers of
both are compared before anything is audited.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from torch import nn

from ptq_pipeline.core.errors import InputError, first_line
from ptq_pipeline.core.inputs import read_regular
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
    module = _converted(given, path)
    _compare(module, content, taken, path)
    return module


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


def _converted(given: onnx.ModelProto, path: Path) -> nn.Module:
    import onnxscript.optimizer
    from onnx2pytorch import ConvertModel

    try:
        module = ConvertModel(onnxscript.optimizer.optimize(given), experimental=True)
    except Exception as error:  # the converter raises what it meets
        raise InputError(
            f"float model '{path}' cannot be converted to torch: {first_line(error)}; give a "
            "factory and its weights, or compare files (kedro ptq compare)"
        ) from error
    return module.eval().requires_grad_(False)


def _compare(module: nn.Module, content: bytes, given: Any, path: Path) -> None:
    """Hold the outputs on two images of noise against those of ONNX Runtime, where it is here."""
    sides = _sides(given, path)
    if find_spec("onnxruntime") is None or 0 in sides[1:]:
        return
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    shape = (sides[0] or 2, *sides[1:])
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = session.run(None, {given.name: images})[0]
    try:
        with torch.inference_mode():
            found = module(torch.from_numpy(images)).numpy()
    except Exception as error:
        raise InputError(
            f"float model '{path}' was converted to a network that cannot run: {first_line(error)}"
        ) from error
    differs = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
    # Not a number is no small difference.
    if not differs <= TOLERANCE * max(SMALLEST, float(np.abs(expected).max())):
        raise InputError(
            f"float model '{path}' was converted to a network that answers otherwise than ONNX "
            f"Runtime (outputs differ by {differs:.2g}); give a factory and its weights instead"
        )
