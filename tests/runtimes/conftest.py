import functools
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ptq_pipeline.models import Preprocessing, mobilenet_v2_small, resnet20
from ptq_pipeline.ptq import (
    MethodSpec,
    PreparedModel,
    QuantizationParameters,
    as_tensor_batches,
    calibrate,
    prepare,
)
from ptq_pipeline.runtimes import OnnxruntimeRuntime, OpenvinoRuntime, Runtime

PREPROCESSING = Preprocessing((0.286,), (0.353,))
FACTORIES: dict[str, Callable[[], nn.Module]] = {
    "resnet20": resnet20,
    "mobilenet_v2_small": mobilenet_v2_small,
}


@pytest.fixture(scope="session")
def runtime_of() -> Callable[[str], Runtime]:
    """A runtime by name; one for all tests, since each converts a network once."""

    @functools.cache
    def make(name: str) -> Runtime:
        kind, _, optimization = name.partition("-")
        if kind == "openvino":
            return OpenvinoRuntime(threads=1)
        return OnnxruntimeRuntime(threads=1, optimization=optimization or "all")

    return make


@pytest.fixture(scope="session")
def preprocessing() -> Preprocessing:
    return PREPROCESSING


@pytest.fixture(scope="session")
def pixels(raw_data: Path) -> np.ndarray:
    """1,200 real test images, uint8."""
    raw = gzip.decompress((raw_data / "fashion_mnist/test/images-idx3-ubyte.gz").read_bytes())
    return np.frombuffer(raw, np.uint8, count=1200 * 784, offset=16).reshape(-1, 1, 28, 28)


@pytest.fixture(scope="session", params=list(FACTORIES))
def prepared(request: pytest.FixtureRequest, pixels: np.ndarray) -> PreparedModel:
    """A network with random weights and the batch norm statistics of real images."""
    images = torch.from_numpy(PREPROCESSING(pixels[:64]))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = FACTORIES[request.param]().train()
        for _ in range(5):
            model(images)
    return prepare(model, images[:4])


@pytest.fixture(scope="session", params=list(FACTORIES))
def trained(request: pytest.FixtureRequest, project: Path, pixels: np.ndarray) -> PreparedModel:
    """A reference model with its trained weights."""
    weights = project / f"data/06_models/reference/{request.param}.safetensors"
    model = FACTORIES[request.param]()
    # The files leave out how many batches each batch norm has seen.
    model.load_state_dict(load_file(weights), strict=False)
    return prepare(model, torch.from_numpy(PREPROCESSING(pixels[:4])))


@pytest.fixture(scope="session")
def calibrated(
    prepared: PreparedModel, pixels: np.ndarray
) -> Callable[[MethodSpec], QuantizationParameters]:
    batches = as_tensor_batches(PREPROCESSING(pixels[-64:]))
    return lambda method: calibrate(prepared, batches, method)
