"""Biases of int32: what their step is, and that they always fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ptq_pipeline.ptq import (
    MethodSpec,
    QuantizationParameters,
    calibrate,
    method_from_json,
    prepare,
    quantize_model,
)
from ptq_pipeline.ptq.biases import EXACT_CODE, LARGEST_CODE, integer_form
from ptq_pipeline.ptq.preparation import PreparedModel

METHODS = [MethodSpec(8, 8), MethodSpec(4, 4), MethodSpec(3, 3, weight_symmetric=False)]


@pytest.fixture(scope="module")
def extreme() -> PreparedModel:
    """A convolution with an all-zero filter, tiny filters and a huge bias."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 676, 4))
        model[0].weight[0] = 0.0
        model[0].weight[1] *= 1e-8
        model[0].weight[2] *= 1e-20
        model[0].bias[:4] = torch.tensor([0.3, 1.0, -1.0, 1e7])
    return prepare(model.eval(), torch.rand(2, 1, 28, 28))


@pytest.mark.parametrize("method", METHODS)
def test_every_bias_fits_and_its_error_is_half_a_step(
    extreme: PreparedModel, images: Tensor, method: MethodSpec
) -> None:
    parameters = calibrate(extreme, [images[:32]], method)
    settled, biases = integer_form(extreme, parameters)
    assert set(biases) == {layer.name for layer in extreme.layers}
    for name, bias in biases.items():
        given = settled.input_of(name)
        assert given is not None
        assert np.array_equal(
            bias.scale, np.float32(given.scale) * settled.layers[name].weight.scale
        )
        assert np.abs(bias.codes.astype(np.int64)).max() <= LARGEST_CODE
        error = np.abs(bias.codes * bias.scale.astype(float) - bias.real)
        assert (error <= 0.5000001 * bias.scale).all()
    first = biases["0"]
    # A filter of zeros has no step of its own: the bias takes one that holds it as float32 does.
    assert 0.9999 * EXACT_CODE < abs(int(first.codes[0])) <= EXACT_CODE
    assert first.dequantized()[0] == pytest.approx(0.3, rel=1e-7)
    assert not settled.layers["0"].weight.dequantized()[0].any()
    # What was small stays small, and channels that fit are left alone.
    wide = settled.layers["0"].weight
    assert np.abs(wide.dequantized()[1]).max() < 1e-7
    assert np.array_equal(wide.scale[4:], parameters.layers["0"].weight.scale[4:])
    assert np.array_equal(wide.codes[4:], parameters.layers["0"].weight.codes[4:])


@pytest.mark.parametrize("method", METHODS)
def test_a_second_call_changes_nothing(
    extreme: PreparedModel, images: Tensor, method: MethodSpec
) -> None:
    once, biases = integer_form(extreme, calibrate(extreme, [images[:32]], method))
    twice, again = integer_form(extreme, once)
    for name, layer in once.layers.items():
        assert twice.layers[name].weight is layer.weight
        assert np.array_equal(again[name].codes, biases[name].codes)


def test_a_step_of_zero_and_tiny_inputs_have_a_grid(extreme: PreparedModel, images: Tensor) -> None:
    parameters = calibrate(extreme, [images[:32]], MethodSpec())
    layer = parameters.layers["0"]
    assert layer.activation is not None
    flat = replace(layer.weight, scale=np.zeros_like(layer.weight.scale))
    tiny = replace(layer, weight=flat, activation=replace(layer.activation, scale=1e-30))
    parameters = replace(parameters, layers={**parameters.layers, "0": tiny})
    settled, biases = integer_form(extreme, parameters)
    assert np.isfinite(settled.layers["0"].weight.scale).all()
    assert np.allclose(biases["0"].dequantized(), biases["0"].real, rtol=1e-6)


def test_a_layer_behind_a_quantized_block_has_its_bias_on_the_grid_of_that_output(
    prepared: PreparedModel, images: Tensor
) -> None:
    steps = {"iterations": 2, "activation_iterations": 2}
    config = method_from_json(
        {"name": "brecq_cpu", "weight_bits": 4, "activation_bits": 4, **steps}
    )
    parameters = quantize_model(prepared, [images[:32]], config, seed=0)
    behind = [name for name, layer in parameters.layers.items() if layer.activation is None]
    assert behind
    settled, biases = integer_form(prepared, parameters)
    for name in behind:
        output = parameters.outputs[str(parameters.layers[name].reads)]
        assert parameters.input_of(name) == output
        expected = np.float32(output.scale) * settled.layers[name].weight.scale
        assert np.array_equal(biases[name].scale, expected)
    kept = QuantizationParameters.from_arrays(parameters.to_arrays())
    assert [layer.reads for layer in kept.layers.values()] == [
        layer.reads for layer in parameters.layers.values()
    ]
