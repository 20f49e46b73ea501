from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.processor import EXACT_BITS
from torch import nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import Preprocessing
from ptq_pipeline.ptq import (
    MethodSpec,
    PreparedModel,
    QuantizationParameters,
    as_tensor_batches,
    calibrate,
    prepare,
)
from ptq_pipeline.runtimes import Runtime, SimulatedRuntime

Calibrated = Callable[[MethodSpec], QuantizationParameters]


def test_without_parameters_it_is_the_float_model(
    prepared: PreparedModel, pixels: np.ndarray, preprocessing: Preprocessing
) -> None:
    batch = preprocessing(pixels[:20])
    with torch.no_grad():
        expected = prepared.module(torch.from_numpy(batch)).numpy()
    assert np.array_equal(SimulatedRuntime().compile(prepared, None)(batch), expected)


def test_every_layer_computes_on_its_grid(
    prepared: PreparedModel,
    calibrated: Calibrated,
    pixels: np.ndarray,
    preprocessing: Preprocessing,
) -> None:
    parameters = calibrated(MethodSpec(3, 3))
    predictor = SimulatedRuntime().compile(prepared, parameters)
    seen: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in parameters.layers:
        predictor.module.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: seen.__setitem__(
                name, (args[0].numpy(), module.weight.numpy())
            )
        )
    predictor(preprocessing(pixels[:20]))
    for name, (given, weight) in seen.items():
        layer = parameters.layers[name]
        codes = given / np.float32(layer.activation.scale) + layer.activation.zero_point
        assert np.allclose(codes, np.rint(codes), atol=1e-4)
        assert -1e-4 <= codes.min() and codes.max() <= 7.0001
        assert np.array_equal(weight, layer.weight.dequantized())
        assert len(np.unique(weight[0])) <= 8


def test_the_prepared_model_is_left_alone(
    prepared: PreparedModel,
    calibrated: Calibrated,
    pixels: np.ndarray,
    preprocessing: Preprocessing,
) -> None:
    batch = preprocessing(pixels[:8])
    runtime = SimulatedRuntime()
    before = runtime.compile(prepared, None)(batch)
    coarse = runtime.compile(prepared, calibrated(MethodSpec(2, 2)))(batch)
    assert not np.array_equal(coarse, before)
    assert np.array_equal(runtime.compile(prepared, None)(batch), before)


def test_parameters_of_another_model_are_refused(
    prepared: PreparedModel, calibrated: Calibrated
) -> None:
    parameters = calibrated(MethodSpec())
    name, layer = next(iter(parameters.layers.items()))
    others = {key: value for key, value in parameters.layers.items() if key != name}
    for layers in (others, {**parameters.layers, "extra": layer}):
        with pytest.raises(InputError, match="do not fit the model: layer"):
            SimulatedRuntime().compile(prepared, QuantizationParameters(layers))


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "onnxruntime-none"])
def test_pixels_normalised_by_a_half_get_the_same_codes_everywhere(
    runtime_of: Callable[[str], Runtime], pixels: np.ndarray, name: str
) -> None:
    images = Preprocessing((0.5,), (0.5,))(pixels[:50])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), nn.Flatten(), nn.Linear(1352, 10))
    prepared = prepare(network, torch.from_numpy(images[:2]))
    parameters = calibrate(prepared, as_tensor_batches(images), MethodSpec(EXACT_BITS))
    expected = SimulatedRuntime().compile(prepared, parameters)(images)
    found = runtime_of(name).compile(prepared, parameters)(images)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
