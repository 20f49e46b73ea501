import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ptq_pipeline.models import mobilenet_v2_small
from ptq_pipeline.ptq import (
    PreparedModel,
    QuantizationParameters,
    method_from_json,
    overridden,
    prepare,
    quantize_model,
)
from ptq_pipeline.ptq.corrections.before import cross_layer_equalization, smooth_quant
from ptq_pipeline.ptq.corrections.matching import fitted_shift
from ptq_pipeline.ptq.corrections.moments import layers_with_batch_norm
from ptq_pipeline.runtimes import OpenvinoRuntime, SimulatedRuntime


def _corrected(model: PreparedModel, images: Tensor, *names: str, **values):
    method = method_from_json(
        {"weight_bits": 3, "activation_bits": 8, **values, "corrections": names}
    )
    return quantize_model(model, [images], method, seed=0)


def _outputs(model: PreparedModel, parameters: QuantizationParameters | None, images: Tensor, of):
    """Outputs of one layer in the simulation."""
    module = SimulatedRuntime().compile(model, parameters).module
    seen = []
    module.get_submodule(of).register_forward_hook(lambda m, a, output: seen.append(output))
    with torch.no_grad():
        module(images)
    return seen[0]


def _spread_model() -> nn.Module:
    """Two convolutions with very unequal channels between them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU6(),
            nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(4 * 22 * 22, 3),
        )  # fmt: skip
    with torch.no_grad():
        factor = torch.logspace(-2, 2, 8)
        model[0].weight.mul_(factor.reshape(-1, 1, 1, 1))
        model[0].bias.mul_(factor)
        model[2].weight.div_(factor.reshape(-1, 1, 1, 1))
    return model.eval()


def test_equalization_keeps_the_model_and_evens_out_ranges(images: Tensor) -> None:
    model = prepare(_spread_model(), images[:2])
    equal, (note,) = cross_layer_equalization(model, images[:8])
    with torch.no_grad():
        torch.testing.assert_close(
            equal.module(images[:8]), model.module(images[:8]), rtol=1e-3, atol=1e-4
        )
    first, second = (equal.module.get_submodule(name) for name in ("0", "2"))
    ranges = first.weight.flatten(1).abs().amax(1), second.weight.flatten(1).abs().amax(1)
    torch.testing.assert_close(*ranges, rtol=1e-3, atol=1e-5)
    # ReLU6 is not homogeneous: the second pair stays, and the record says so.
    assert "1 pairs of layers keep their scales, because ReLU6" in note and "'2' and '4'" in note
    assert _corrected(model, images[:8], "cross_layer_equalization").notes == (note,)
    assert torch.equal(
        equal.module.get_submodule("4").weight, model.module.get_submodule("4").weight
    )


def test_equalization_helps_one_step_per_tensor(images: Tensor) -> None:
    model = prepare(_spread_model(), images[:2])
    values = {"weight_bits": 6, "weight_granularity": "per_tensor"}
    wanted = _outputs(model, None, images[:64], "6")
    errors = [
        float((_outputs(model, _corrected(model, images[:64], *names, **values), images[:64], "6")
               - wanted).square().mean())
        for names in ((), ("cross_layer_equalization",))
    ]  # fmt: skip
    assert errors[1] < 0.5 * errors[0]


def test_equalization_of_residual_networks_is_exact(
    prepared: PreparedModel, images: Tensor
) -> None:
    equal, _ = cross_layer_equalization(prepared, images[:8])
    with torch.no_grad():
        torch.testing.assert_close(
            equal.module(images[:16]), prepared.module(images[:16]), rtol=1e-3, atol=1e-4
        )
    changed = [
        layer.name
        for layer in prepared.layers
        if not np.array_equal(equal.weight(layer.name), prepared.weight(layer.name))
    ]
    assert "blocks.0.conv1" in changed and "blocks.0.conv2" in changed
    assert "classifier" not in changed


def test_bias_correction_restores_the_means(prepared: PreparedModel, images: Tensor) -> None:
    found = _corrected(prepared, images[:64], "bias_correction")
    for name in ("blocks.4.conv2", "classifier"):
        got = _outputs(prepared, found, images[:64], name)
        wanted = _outputs(prepared, None, images[:64], name)
        axes = (0, 2, 3) if got.ndim == 4 else (0,)
        scale = float(wanted.std())
        assert float((got.mean(axes) - wanted.mean(axes)).abs().max()) < 0.02 * scale


def test_reestimation_restores_means_and_deviations(
    prepared: PreparedModel, images: Tensor
) -> None:
    assert layers_with_batch_norm(prepared, images[:1]) == {
        layer.name for layer in prepared.layers if layer.name != "classifier"
    }
    found = _corrected(prepared, images[:64], "batch_norm_reestimation")
    plain = _corrected(prepared, images[:64])
    got = _outputs(prepared, found, images[:64], "blocks.4.conv2")
    wanted = _outputs(prepared, None, images[:64], "blocks.4.conv2")
    torch.testing.assert_close(got.std((0, 2, 3)), wanted.std((0, 2, 3)), rtol=0.05, atol=0.01)
    layer, before = found.layers["blocks.4.conv2"].weight, plain.layers["blocks.4.conv2"].weight
    np.testing.assert_array_equal(layer.codes, before.codes)
    assert not np.array_equal(layer.scale, before.scale)


def test_smooth_quant_keeps_the_model_and_flattens_channels() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(16)
            self.up, self.gate = nn.Linear(16, 32), nn.Linear(16, 32)
            self.out = nn.Linear(32, 4)

        def forward(self, x):
            y = self.norm(x.flatten(1))
            return self.out(torch.relu(self.up(y)) + self.gate(y))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, images = Encoder().eval(), torch.randn(64, 1, 4, 4)
    with torch.no_grad():
        module.norm.weight[3] = 60.0
    model = prepare(module, images[:2])
    smooth = smooth_quant(model, images)
    with torch.no_grad():
        torch.testing.assert_close(
            smooth.module(images), model.module(images), rtol=1e-3, atol=1e-4
        )
    assert float(smooth.module.norm.weight[3]) < 20.0
    found = _corrected(model, images, "smooth_quant", weight_bits=8, activation_bits=6)
    assert set(found.overrides) == {"norm.weight"}
    plain = _corrected(model, images, weight_bits=8, activation_bits=6)
    wanted = _outputs(model, None, images, "out")
    errors = [
        float((_outputs(model, p, images, "out") - wanted).square().mean()) for p in (found, plain)
    ]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("placement", [("cross_layer_equalization", "bias_correction")])
def test_runtimes_apply_corrections_alike(images: Tensor, placement: tuple[str, ...]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = mobilenet_v2_small().eval()
    model = prepare(module, images[:2])
    found = _corrected(model, images[:32], *placement)
    found = QuantizationParameters.from_arrays(found.to_arrays())
    assert found.overrides and overridden(model, found.overrides) is not model
    batch = images[:16].numpy()
    left = SimulatedRuntime().compile(model, found)(batch)
    right = OpenvinoRuntime().compile(model, found)(batch)
    np.testing.assert_allclose(left, right, atol=0.05 * np.abs(left).max())


def _divergence(model: PreparedModel, parameters: QuantizationParameters, images: Tensor) -> float:
    """Mean KL divergence of the executed model's softmax from the float model's."""
    with torch.no_grad():
        wanted = model.module(images).double().log_softmax(1)
        found = SimulatedRuntime().compile(model, parameters).module(images).double().log_softmax(1)
    return float((wanted.exp() * (wanted - found)).sum(1).mean())


@pytest.mark.parametrize("name", ["nearest", "gptq"])
def test_output_matching_goes_around_any_method(
    prepared: PreparedModel, images: Tensor, name: str
) -> None:
    bits = {"name": name, "weight_bits": 3}
    plain = _corrected(prepared, images[:64], **bits)
    found = _corrected(prepared, images[:64], "output_matching", **bits)
    assert set(found.overrides) == {"classifier.bias"}
    for layer, before in plain.layers.items():
        np.testing.assert_array_equal(found.layers[layer].weight.codes, before.weight.codes)
    assert _divergence(prepared, found, images[:64]) < _divergence(prepared, plain, images[:64])
    # The fit is for the integers that ship: each class has its mean probability, but for one code.
    with torch.no_grad():
        got = SimulatedRuntime().compile(prepared, found).module(images[:64]).softmax(1).mean(0)
        wanted = prepared.module(images[:64]).softmax(1).mean(0)
    np.testing.assert_allclose(got, wanted, atol=5e-4)


def test_the_fitted_shift_is_the_least(prepared: PreparedModel) -> None:
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(0, 5, (200, 4)))
    wanted = torch.from_numpy(random.normal(0, 5, (200, 4))).softmax(1)
    shift = fitted_shift(logits, wanted)

    def value(at: Tensor) -> float:
        fit = -(wanted * (logits + at).log_softmax(1)).sum(1).mean()
        return float(fit + 0.5e-4 * at.square().sum())

    for place in range(4):
        for step in (-1e-3, 1e-3):
            moved = shift.clone()
            moved[place] += step
            assert value(moved) > value(shift)


def test_output_matching_says_where_it_cannot_work(images: Tensor) -> None:
    model = prepare(
        nn.Sequential(nn.Conv2d(1, 3, 28), nn.Flatten(), nn.LogSoftmax(1)).eval(), images[:2]
    )
    found = _corrected(model, images[:8], "output_matching")
    assert found.overrides == {}
    assert found.notes == (
        "output_matching: the logits are not what layer '0' returns, so its biases are not fitted",
    )


def test_reestimation_without_batch_norms_is_said(images: Tensor) -> None:
    model = prepare(_spread_model(), images[:2])
    (note,) = _corrected(model, images[:8], "batch_norm_reestimation").notes
    assert "no batch norm was folded" in note
