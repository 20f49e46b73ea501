"""Two tools that people deploy with, as methods of the audit."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import Preprocessing, resnet20
from ptq_pipeline.ptq import (
    PreparedModel,
    as_tensor_batches,
    method_from_json,
    prepare,
    quantize_model,
)
from ptq_pipeline.runtimes import OnnxruntimeRuntime, OpenvinoRuntime, SimulatedRuntime
from ptq_pipeline.trials.recipe import Recipe

PREPROCESSING = Preprocessing((0.286,), (0.353,))
RUNTIMES = {"onnxruntime_static": OnnxruntimeRuntime, "nncf": OpenvinoRuntime}


@pytest.fixture(scope="module")
def images(raw_data: Path) -> np.ndarray:
    raw = gzip.decompress((raw_data / "fashion_mnist/test/images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(raw, np.uint8, count=300 * 784, offset=16).reshape(-1, 1, 28, 28)
    return PREPROCESSING(pixels)


@pytest.fixture(scope="module")
def trained(project: Path, images: np.ndarray) -> PreparedModel:
    model = resnet20()
    weights = load_file(project / "data/06_models/reference/resnet20.safetensors")
    model.load_state_dict(weights, strict=False)
    return prepare(model, torch.from_numpy(images[:2]))


@pytest.mark.parametrize("name", list(RUNTIMES))
def test_a_tool_is_a_method_executed_from_its_own_file(
    name: str, trained: PreparedModel, images: np.ndarray
) -> None:
    pytest.importorskip({"onnxruntime_static": "onnxruntime"}.get(name, name))
    method = method_from_json({"name": name})
    assert method_from_json(method.to_json()) == method
    batches = as_tensor_batches(images[:64])
    first, second = (quantize_model(trained, batches, method, seed=seed) for seed in (1, 2))
    assert first.file is not None and second.file is not None
    assert dict(first.file.parts) == dict(second.file.parts)
    runtime = RUNTIMES[name](threads=1)
    answers = runtime.compile(trained, first)(images[64:]).argmax(1)
    expected = SimulatedRuntime().compile(trained, None)(images[64:]).argmax(1)
    assert (answers == expected).mean() > 0.97
    if first.file.format == "onnx":
        reference = SimulatedRuntime().compile(trained, first)(images[64:]).argmax(1)
        assert (answers == reference).mean() >= 0.99
    else:
        with pytest.raises(InputError, match="only the runtime 'openvino' executes"):
            SimulatedRuntime().compile(trained, first)


def test_tools_have_8_bits_and_their_installed_version() -> None:
    with pytest.raises(InputError, match="weight_bits must be one of"):
        method_from_json({"name": "onnxruntime_static", "weight_bits": 4})
    with pytest.raises(InputError, match=r"asked for nncf 0\.1, but .* is installed"):
        method_from_json({"name": "nncf", "tool_version": "0.1"})


def test_a_runtime_that_cannot_execute_the_file_is_refused_before_anything_runs() -> None:
    runtime = {"name": "onnxruntime", "threads": 1}
    with pytest.raises(ValueError, match="writes openvino files"):
        Recipe.model_validate({"method": {"name": "nncf"}, "runtime": runtime})
