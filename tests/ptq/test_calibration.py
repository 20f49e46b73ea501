import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from torch import Tensor, nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import (
    IntegerScheme,
    MethodSpec,
    PreparedModel,
    QuantizationParameters,
    as_tensor_batches,
    calibrate,
    combine,
    method_from_json,
    prepare,
    quantize_model,
    quantize_weights,
)
from ptq_pipeline.ptq.quantizer import choose_qparams
from ptq_pipeline.ptq.ranges import Mse, Percentile


def _same(one: QuantizationParameters, other: QuantizationParameters) -> bool:
    first, second = one.to_arrays(), other.to_arrays()
    return list(first) == list(second) and all(
        np.array_equal(first[key], second[key]) and first[key].dtype == second[key].dtype
        for key in first
    )


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_are_the_nearest_codes_of_the_folded_weights(
    prepared: PreparedModel, bits: int
) -> None:
    for name, weight in quantize_weights(prepared, MethodSpec(weight_bits=bits)).items():
        real = prepared.weight(name)
        rows = np.abs(real).reshape(len(real), -1).max(1)
        assert weight.codes.dtype == np.int8
        assert np.allclose(weight.scale, rows / (2 ** (bits - 1) - 1), rtol=1e-6)
        error = np.abs(weight.dequantized() - real).reshape(len(real), -1).max(1)
        assert np.all(error <= 0.5001 * weight.scale)


def test_per_tensor_weights_have_one_scale(prepared: PreparedModel) -> None:
    method = MethodSpec(weight_granularity="per_tensor")
    for name, weight in quantize_weights(prepared, method).items():
        assert weight.scale.shape == (len(prepared.weight(name)),)
        assert len(np.unique(weight.scale)) == 1


def test_minmax_activations_are_those_of_the_input(prepared: PreparedModel, images: Tensor) -> None:
    method = MethodSpec(activation_bits=4)
    found = calibrate(prepared, [images], method).layers["conv1"].activation
    expected = choose_qparams(images.min(), images.max(), IntegerScheme(4, symmetric=False))
    assert found.scale == float(expected.scale)
    assert found.zero_point == int(expected.zero_point)


@pytest.mark.parametrize("estimator", [None, Percentile(99.0), Mse()])
def test_same_input_same_bits_and_no_global_randomness(
    prepared: PreparedModel, images: Tensor, estimator: Percentile | Mse | None
) -> None:
    method = MethodSpec(4, 4)
    if estimator is not None:
        method = MethodSpec(4, 4, estimator, estimator)
    state = torch.random.get_rng_state()
    batches = as_tensor_batches(images[:48].numpy(), 16)
    first = calibrate(prepared, batches, method)
    second = calibrate(prepared, lambda: iter(batches), method, quantize_weights(prepared, method))
    assert _same(first, second)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_parameters_survive_safetensors(prepared: PreparedModel, images: Tensor) -> None:
    parameters = calibrate(prepared, [images[:16]], MethodSpec(3, 5))
    again = QuantizationParameters.from_arrays(load(save(parameters.to_arrays())))
    assert _same(parameters, again)
    assert list(again.layers) == [layer.name for layer in prepared.layers]
    arrays = parameters.to_arrays()
    del arrays["conv1:scale"]
    with pytest.raises(InputError, match="'conv1:scale' is missing"):
        QuantizationParameters.from_arrays(arrays)


def test_inputs_that_are_constant_or_all_zero(images: Tensor) -> None:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dead = nn.Conv2d(1, 2, 28)
            self.constant = nn.Linear(2, 2)
            self.head = nn.Linear(2, 10)

        def forward(self, x: Tensor) -> Tensor:
            y = torch.relu(self.dead(x).flatten(1) - 1e6)
            return self.head(torch.ones_like(self.constant(y)))

    model = prepare(Dead(), images[:2])
    for method in (
        MethodSpec(),
        MethodSpec(4, 4, Mse(), Mse()),
        MethodSpec(8, 2, Mse(), Percentile()),
    ):
        parameters = calibrate(model, [images[:16]], method)
        (sentence,) = parameters.fallbacks
        assert "'constant': its input was 0 on every" in sentence
        assert parameters.layers["constant"].activation.scale == 1.0
        ones = parameters.layers["head"].activation
        # A constant input keeps zero in its range and is the largest code itself.
        assert ones.scale * (ones.scheme.qmax - ones.zero_point) == pytest.approx(1.0, rel=1e-3)


def test_a_channel_of_zeros_stays_zero(images: Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 28), nn.Flatten())
    with torch.no_grad():
        model[0].weight[1] = 0.0
    for method in (MethodSpec(), MethodSpec(2, 8, Mse()), MethodSpec(2, 8, Percentile())):
        weight = quantize_weights(prepare(model, images[:2]), method)["0"]
        assert not weight.dequantized()[1].any()
        assert weight.dequantized()[0].any()


def test_weights_and_activations_of_different_models(
    prepared: PreparedModel,
) -> None:
    weights = quantize_weights(prepared, MethodSpec())
    with pytest.raises(InputError, match="different layers: 'blocks.0.conv1'"):
        combine(weights, {})


@pytest.mark.parametrize("name", ["nearest", "gptq"])
def test_the_ends_stay_at_eight_bits(prepared: PreparedModel, images: Tensor, name: str) -> None:
    first, last = prepared.layers[0].name, prepared.layers[-1].name

    def bits(**options: object) -> dict[str, tuple[int, int]]:
        values = {"name": name, "weight_bits": 4, "activation_bits": 4, **options}
        found = quantize_model(prepared, [images[:32]], method_from_json(values), seed=0)
        return {
            layer: (each.weight.scheme.bits, each.activation.scheme.bits)
            for layer, each in found.layers.items()
            if each.activation is not None
        }

    plain = dict.fromkeys((layer.name for layer in prepared.layers), (4, 4))
    assert bits() == plain
    assert bits(first_input_8_bit=True) == plain | {first: (4, 8)}
    assert bits(first_last_8_bit=True) == plain | {first: (8, 8), last: (8, 8)}
    # What is said of a layer by name holds.
    named = bits(first_last_8_bit=True, layer_weight_bits={last: 6})
    assert named == plain | {first: (8, 8), last: (6, 8)}
