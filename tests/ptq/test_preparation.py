from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptq_pipeline.models import mobilenet_v2_small
from ptq_pipeline.ptq import PreparationError, PreparedModel, prepare

COVERED = (nn.Conv2d, nn.Linear)


class Net(nn.Module):
    """Two layers; tests override `forward` to do something odd in between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 10)
        with torch.no_grad():
            self.norm.running_mean.copy_(torch.arange(4.0))
            self.norm.running_var.copy_(torch.arange(4.0) + 0.5)
            self.norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
            self.norm.bias.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))

    def middle(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(x).mean((2, 3)))


def _outputs(original: nn.Module, prepared: PreparedModel, images: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return original.eval()(images), prepared.module(images)


def test_folded_resnet_equals_the_original(
    resnet: nn.Module, prepared: PreparedModel, images: Tensor
) -> None:
    expected, got = _outputs(resnet, prepared, images[:64])
    assert torch.allclose(got, expected, atol=1e-5, rtol=1e-4)
    assert len(prepared.folded_batch_norms) == 21
    assert prepared.float_batch_norms == ()
    kinds = {type(child) for child in prepared.module.modules()}
    assert nn.BatchNorm2d not in kinds


def test_every_layer_is_found_in_call_order(resnet: nn.Module, prepared: PreparedModel) -> None:
    names = [layer.name for layer in prepared.layers]
    assert set(names) == {n for n, child in resnet.named_modules() if isinstance(child, COVERED)}
    assert names[0] == "conv1" and names[-1] == "classifier"
    shared = {layer.name: layer.same_input_as for layer in prepared.layers if layer.same_input_as}
    assert shared == {
        "blocks.3.shortcut.0": "blocks.3.conv1",
        "blocks.6.shortcut.0": "blocks.6.conv1",
    }


def test_mobilenet_with_depthwise_layers(images: Tensor) -> None:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        model = mobilenet_v2_small().train()
        for _ in range(3):
            model(images[:64])
    model.eval()
    prepared = prepare(model, images[:4])
    expected, got = _outputs(model, prepared, images[:32])
    assert torch.allclose(got, expected, atol=1e-4, rtol=1e-3)
    assert len(prepared.layers) == sum(isinstance(child, COVERED) for child in model.modules())
    assert any(layer.groups == layer.weight_shape[0] > 1 for layer in prepared.layers)


def test_the_original_is_left_alone(images: Tensor) -> None:
    model = Net().train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    prepare(model, images[:2])
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(child._forward_hooks for child in model.modules())


class NormFeedsOnSum(Net):
    def middle(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x) + 1.0)


class ConvOutputUsedTwice(Net):
    def middle(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y) + y


class ReluBeforeNormInPlace(Net):
    def middle(self, x: Tensor) -> Tensor:
        return self.norm(functional.relu(self.conv(x), inplace=True))


class NormRunsTwice(Net):
    def middle(self, x: Tensor) -> Tensor:
        return self.norm(self.norm(self.conv(x)))


@pytest.mark.parametrize(
    "kind", [NormFeedsOnSum, ConvOutputUsedTwice, ReluBeforeNormInPlace, NormRunsTwice]
)
def test_a_batch_norm_that_cannot_be_folded_stays(kind: type[Net], images: Tensor) -> None:
    model = kind()
    prepared = prepare(model, images[:2])
    assert prepared.folded_batch_norms == ()
    assert prepared.float_batch_norms == ("norm",)
    expected, got = _outputs(model, prepared, images[:8])
    assert torch.equal(expected, got)


def test_looking_at_a_shape_does_not_prevent_folding(images: Tensor) -> None:
    class LooksAtShape(Net):
        def middle(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            assert y.shape[1] == 4 and y.size(0) > 0
            return self.norm(y)

    assert prepare(LooksAtShape(), images[:2]).folded_batch_norms == ("norm",)


def test_a_layer_called_twice_is_one_layer_with_two_calls(images: Tensor) -> None:
    class Recurrent(Net):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Conv2d(4, 4, 1)

        def middle(self, x: Tensor) -> Tensor:
            return self.mix(functional.relu(self.mix(self.norm(self.conv(x)))))

    calls = {layer.name: layer.calls for layer in prepare(Recurrent(), images[:2]).layers}
    assert calls == {"conv": 1, "mix": 2, "head": 1}


class Odd(Net):
    """Runs one operation between its layers, in a module of its own."""

    def __init__(self, operation: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.odd = type("Operation", (nn.Module,), {"forward": operation})()

    def middle(self, x: Tensor) -> Tensor:
        return self.odd(self.conv(x))


ESCAPES: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "conv2d": lambda self, y: functional.conv2d(
        y, y[:, :, :1, :1].mean(0) * torch.ones(4, 4, 1, 1)
    ),
    "linear": lambda self, y: functional.linear(y, y[0, 0, :, :]),
    "addmm": lambda self, y: (
        y + torch.addmm(torch.ones(2), torch.ones(2, 2), torch.ones(2, 2)).sum()
    ),
    "conv_transpose2d": lambda self, y: functional.conv_transpose2d(y, torch.ones(4, 4, 1, 1)),
}


@pytest.mark.parametrize("operation", list(ESCAPES))
def test_what_multiplies_and_cannot_be_covered_is_an_error_that_names_the_module(
    operation: str, images: Tensor
) -> None:
    with pytest.raises(PreparationError, match=rf"module 'odd' calls .*{operation}"):
        prepare(Odd(ESCAPES[operation]), images[:2])


def test_multiplying_in_the_models_own_forward(images: Tensor) -> None:
    class Own(Net):
        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("nchw,wk->nk", x, torch.ones(28, 10))

    with pytest.raises(PreparationError, match="the model's own forward multiplies by a constant"):
        prepare(Own(), images[:2])


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_modules_are_errors(kind: type[nn.Module], images: Tensor) -> None:
    class Recurrent(Net):
        def __init__(self) -> None:
            super().__init__()
            self.inner = kind(28, 28, batch_first=True)

        def middle(self, x: Tensor) -> Tensor:
            return self.conv(self.inner(x[:, 0])[0][:, None])

    with pytest.raises(PreparationError, match="module 'inner' calls"):
        prepare(Recurrent(), images[:2])


def test_a_layer_that_does_not_run_is_said_and_refuses_to_run(images: Tensor) -> None:
    class Conditional(Net):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.Conv2d(4, 4, 1)

        def middle(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return self.spare(y) if len(x) == 3 else y

    prepared = prepare(Conditional(), images[:2])
    assert prepared.unused_layers == ("spare",)
    assert "spare" not in [layer.name for layer in prepared.layers]
    with pytest.raises(PreparationError, match="layer 'spare' did not run on the example"):
        prepared.module(images[:3])


def test_a_forward_that_bypasses_the_module_call_is_covered(images: Tensor) -> None:
    class Bypasses(Net):
        def middle(self, x: Tensor) -> Tensor:
            return self.conv.forward(x)

    model = Bypasses()
    prepared = prepare(model, images[:2])
    assert [layer.name for layer in prepared.layers] == ["conv", "head"]
    expected, got = _outputs(model, prepared, images[:8])
    assert torch.equal(expected, got)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_named(bad: float, images: Tensor) -> None:
    model = Net()
    with torch.no_grad():
        model.head.weight[1, 1] = bad
    with pytest.raises(PreparationError, match=r"parameter 'head.weight' holds NaN or infinite"):
        prepare(model, images[:2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_refused(dtype: torch.dtype, images: Tensor) -> None:
    with pytest.raises(PreparationError, match="only float32 models"):
        prepare(Net().to(dtype), images[:2])


def test_a_weight_kept_in_parts_is_put_together(images: Tensor) -> None:
    model = Net().eval()
    nn.utils.parametrizations.weight_norm(model.conv)
    prepared = prepare(model, images[:2])
    assert np.allclose(prepared.weight("head"), model.head.weight.detach())
    expected, got = _outputs(model, prepared, images[:8])
    assert torch.allclose(expected, got, atol=1e-5)
    assert nn.utils.parametrize.is_parametrized(model.conv), "the model is not changed"


class Standardised(nn.Conv2d):
    """A standardised convolution with the padding of TensorFlow, as timm's ``StdConv2dSame``."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        x = functional.pad(x, (0, 1, 0, 1))
        return functional.conv2d(x, weight, self.bias, self.stride)


def test_a_weight_computed_from_parameters_is_frozen(images: Tensor) -> None:
    model = Net()
    model.conv = Standardised(1, 4, 2, stride=1)
    prepared = prepare(model, images[:2])
    assert [layer.name for layer in prepared.layers] == ["conv.1", "head"]
    assert np.abs(prepared.weight("conv.1").mean((1, 2, 3))).max() < 1e-6
    expected, got = _outputs(model, prepared, images[:8])
    assert torch.allclose(expected, got, atol=1e-5)


def test_a_weight_computed_from_the_images_is_refused(images: Tensor) -> None:
    class Dynamic(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return self._conv_forward(x, self.weight * x.mean(), self.bias)

    model = Net()
    model.conv = Dynamic(1, 4, 3, padding=1)
    with pytest.raises(PreparationError, match="layer 'conv' computes its weight"):
        prepare(model, images[:2])


def test_layers_that_no_image_changes_are_constants(images: Tensor) -> None:
    class Biased(Net):
        """Adds a bias that two layers make of positions, as torchvision's Swin V2."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("positions", torch.arange(4.0).reshape(2, 2))
            self.bias = nn.Sequential(nn.Linear(2, 8), nn.ReLU(inplace=True), nn.Linear(8, 2))
            # Dead on every image, and yet not constant.
            self.dead = nn.Linear(28, 28)
            nn.init.constant_(self.dead.bias, -1e3)
            self.after = nn.Linear(28, 28)

        def middle(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            y = y + self.after(functional.relu(self.dead(y)))
            return y + self.bias(self.positions).sum()

    prepared = prepare(Biased(), images[:2])
    assert prepared.constant_layers == ("bias.0", "bias.2")
    assert [layer.name for layer in prepared.layers] == ["conv", "dead", "after", "head"]
    # What follows changes it in place.
    first, again = (prepared.module(images[:4]) for _ in range(2))
    assert torch.equal(first, again)


def test_the_output_must_be_logits(images: Tensor) -> None:
    class TwoHeads(Net):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = super().forward(x)
            return y, y

    with pytest.raises(PreparationError, match="must return logits"):
        prepare(TwoHeads(), images[:2])
    with pytest.raises(PreparationError, match="no Conv or Linear"):
        prepare(nn.Flatten(), images[:2])


def test_a_use_that_cannot_be_seen_fails_the_check_of_the_folded_model(images: Tensor) -> None:
    class Hidden(Net):
        def middle(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            with torch._C.DisableTorchFunction():
                hidden = y.sum()
            return self.norm(y) + hidden

    with pytest.raises(PreparationError, match="changed the logits"):
        prepare(Hidden(), images[:2])


class Scaled(nn.Linear):
    """A layer that takes more than its input, as adapters of fine-tuning do."""

    def forward(self, x: Tensor, scale: float) -> Tensor:
        return super().forward(x * scale)


def test_layers_with_a_further_argument_each_have_their_own_input() -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = Scaled(4, 4), Scaled(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x, 0.5).relu(), 2.0)

    prepared = prepare(Chain(), torch.rand(3, 4))
    assert [layer.same_input_as for layer in prepared.layers] == [None, None]


def test_denormal_weights_are_zero_as_converters_have_them(images: Tensor) -> None:
    model = Net()
    with torch.no_grad():
        model.conv.weight[1] = 1e-41
    prepared = prepare(model, images[:2])
    assert not prepared.weight("conv")[1].any()
    assert prepared.weight("conv")[0].all()
