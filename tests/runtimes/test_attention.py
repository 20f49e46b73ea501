"""Products of activations, quantized outputs and overrides, in all runtimes alike."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.processor import EXACT_BITS
from torch import Tensor, nn
from torch.nn import functional

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.provenance import cpu_flags
from ptq_pipeline.ptq import (
    ActivationParameters,
    IntegerScheme,
    MethodSpec,
    PreparedModel,
    QuantizationParameters,
    calibrate,
    prepare,
)
from ptq_pipeline.runtimes import OnnxruntimeRuntime, OpenvinoRuntime, Runtime, SimulatedRuntime
from ptq_pipeline.runtimes.openvino import INTEGER_PRECISIONS, executed_precisions


class Small(nn.Module):
    """A convolution, two attention blocks of different kinds, a residual block, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 7, stride=7, bias=False)
        self.encoder = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.block = nn.Sequential(nn.Linear(32, 32), nn.ReLU())
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = self.encoder(x)
        x = x + functional.scaled_dot_product_attention(x, x, x)
        x = x + self.block(x)
        return self.head(x.mean(1))


@pytest.fixture(scope="module")
def batch(pixels: np.ndarray, preprocessing) -> np.ndarray:
    return preprocessing(pixels[:200])


@pytest.fixture(scope="module")
def small(batch: np.ndarray) -> PreparedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return prepare(Small(), torch.from_numpy(batch[:4]))


@pytest.fixture(scope="module")
def parameters(small: PreparedModel, batch: np.ndarray) -> QuantizationParameters:
    return calibrate(small, [torch.from_numpy(batch)], MethodSpec(EXACT_BITS, EXACT_BITS))


@pytest.fixture(scope="module", params=["openvino", "onnxruntime", "onnxruntime-none"])
def other(request: pytest.FixtureRequest) -> Runtime:
    name, *rest = request.param.split("-")
    if name == "openvino":
        return OpenvinoRuntime(threads=1)
    return OnnxruntimeRuntime(threads=1, optimization=rest[0] if rest else "all")


def test_operands_are_calibrated(small: PreparedModel, parameters: QuantizationParameters) -> None:
    assert len(small.operands) == 8
    assert set(parameters.outputs) == set(small.operands)


def test_openvino_executes_products_in_integers(
    small: PreparedModel, parameters: QuantizationParameters, batch: np.ndarray
) -> None:
    predictor = OpenvinoRuntime(threads=1).compile(small, parameters)
    expected = SimulatedRuntime().compile(small, parameters)(batch)
    got = predictor(batch)
    assert np.abs(got - expected).max() < 0.1 * expected.std()
    if {"avx512_vnni", "avx_vnni", "amx_int8"} & set(cpu_flags()):
        precisions = executed_precisions(predictor)
        assert len(precisions) == len(small.layers) + 4
        assert set(precisions.values()) <= INTEGER_PRECISIONS


@pytest.mark.parametrize("bits", [4, 6])
def test_few_bits_are_the_same_grid_everywhere(
    small: PreparedModel, batch: np.ndarray, bits: int, other: Runtime
) -> None:
    parameters = calibrate(small, [torch.from_numpy(batch)], MethodSpec(bits, bits))
    kinds = {parameters.outputs[name].scheme.symmetric for name in small.operands}
    assert kinds == {True, False}
    expected = SimulatedRuntime().compile(small, parameters)(batch)
    got = other.compile(small, parameters)(batch)
    assert np.median(np.abs(got - expected)) < 1e-3 * expected.std()


def test_outputs_of_blocks_are_quantized_where_they_are_made(
    small: PreparedModel, parameters: QuantizationParameters, batch: np.ndarray, other: Runtime
) -> None:
    coarse = ActivationParameters(0.25, 8, IntegerScheme(4, symmetric=False))
    layers = dict(parameters.layers)
    # What the head reads is a mean of the block's output, so it keeps its own quantizer.
    layers["block.0"] = replace(layers["block.0"], activation=None)
    outputs = {**parameters.outputs, "encoder": coarse, "block": coarse, "stem": coarse}
    placed = replace(parameters, layers=layers, outputs=outputs)
    expected = SimulatedRuntime().compile(small, placed)(batch)
    got = other.compile(small, placed)(batch)
    plain = SimulatedRuntime().compile(small, parameters)(batch)
    assert np.abs(plain - expected).max() > 0.1 * expected.std()
    assert np.median(np.abs(got - expected)) < 1e-3 * expected.std()


def test_overrides_of_parameters_reach_every_runtime(
    small: PreparedModel, parameters: QuantizationParameters, batch: np.ndarray, other: Runtime
) -> None:
    shift = np.linspace(-0.5, 0.5, 32, dtype=np.float32)
    # The stem has no bias until it is given one.
    changed = replace(parameters, overrides={"stem.bias": shift, "encoder.norm1.bias": shift})
    expected = SimulatedRuntime().compile(small, changed)(batch)
    got = other.compile(small, changed)(batch)
    plain = SimulatedRuntime().compile(small, parameters)(batch)
    assert np.abs(plain - expected).max() > 0.1 * expected.std()
    assert np.median(np.abs(got - expected)) < 1e-3 * expected.std()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"overrides": {"stem.gain": np.ones(32, np.float32)}}, "no parameter 'stem.gain'"),
        ({"overrides": {"stem.bias": np.ones(3, np.float32)}}, r"'stem.bias' has shape \(32,\)"),
        ({"outputs": {}}, "output of module 'encoder.self_attn.attention.scores.left'"),
    ],
)
def test_parameters_that_do_not_fit(
    small: PreparedModel, parameters: QuantizationParameters, change: dict, message: str
) -> None:
    for runtime in (SimulatedRuntime(), OpenvinoRuntime(threads=1), OnnxruntimeRuntime(threads=1)):
        with pytest.raises(InputError, match=message):
            runtime.compile(small, replace(parameters, **change))
