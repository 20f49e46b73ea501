"""Weights as people have them: checkpoints, prefixes, parts of a weight."""

import argparse
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import Preprocessing, load_float_model, resnet20
from ptq_pipeline.models.weights import read_weights

FACTORY = "ptq_pipeline.models.resnet20"
GREY = Preprocessing((0.5,), (0.5,))
CLASSES = [str(number) for number in range(10)]


@pytest.fixture(scope="module")
def state():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return resnet20().state_dict()


def loaded(path, content, **options):
    torch.save(content, path)
    return load_float_model(FACTORY, path, GREY, CLASSES, **options)


def begun(state, start):
    return OrderedDict((f"{start}{name}", value) for name, value in state.items())


FORMS = {
    "state_dict": lambda s: {"state_dict": OrderedDict(s), "epoch": 3, "best_acc1": torch.ones(())},
    "model": lambda s: {"model": s, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
    "nested": lambda s: {"ema": {"module": s}, "args": {"lr": 1.0}},
    "parallel": lambda s: begun(s, "module."),
    "compiled": lambda s: begun(s, "_orig_mod."),
    "both": lambda s: {"state_dict": begun(s, "module._orig_mod.")},
    "lightning": lambda s: {"state_dict": begun(s, "model.backbone."), "loops": {}},
    "averaged": lambda s: begun(s, "module.") | {"n_averaged": torch.tensor(7)},
    "bfloat16": lambda s: {n: v.bfloat16() if v.is_floating_point() else v for n, v in s.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_of_a_common_form_is_read(tmp_path, state, form):
    model = loaded(tmp_path / "weights.pt", FORMS[form](state))
    for name, value in model.module.state_dict().items():
        assert torch.allclose(value, state[name], rtol=0.01), name


def test_of_several_state_dicts_one_is_named(tmp_path, state):
    path = tmp_path / "weights.pt"
    averaged = {name: value * 0 for name, value in state.items()}
    content = {"state_dict": state, "state_dict_ema": averaged}
    with pytest.raises(InputError, match=r"'state_dict', 'state_dict_ema'; say .*'weights_key: "):
        loaded(path, content)
    model = loaded(path, content, weights_key="state_dict_ema")
    assert not model.module.conv1.weight.any()
    with pytest.raises(InputError, match="holds no state dict 'ema'.* it holds 'state_dict', "):
        loaded(path, content, weights_key="ema")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3}, r"holds 'epoch', which is no tensor, and no state dict; write torch.save"),
        (torch.ones(3), r"holds a Tensor and no state dict"),
        ({"state_dict": {}}, "and no state dict"),
        (
            {"model": resnet20},
            r"an object of Python \('ptq_pipeline.models.architectures.resnet20'",
        ),
        ({"args": argparse.Namespace()}, r"an object of Python \('argparse.Namespace'"),
    ],
)
def test_what_holds_no_weights_says_what_to_write(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as said:
        loaded(tmp_path / "weights.pt", content)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty, which no safetensors or torch file does; write one with torch.save"),
        (b"<!DOCTYPE html><html>", "begins with b'<!DOCTYPE html><', which no"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "pointer of Git LFS .*: git lfs pull"),
    ],
)
def test_what_is_no_file_of_weights_is_named(tmp_path, content, message):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_weights(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda value: value[:3],
            r"'conv1.weight' is \(3, 1, 3, 3\) in the file and \(16, 1, 3, 3\) in",
        ),
        (
            lambda value: value.to(torch.int8),
            r"'conv1.weight' holds torch.int8 in the file and torch",
        ),
    ],
)
def test_a_tensor_of_another_shape_or_kind_is_named(tmp_path, state, change, message):
    changed = state | {"conv1.weight": change(state["conv1.weight"])}
    with pytest.raises(InputError, match=message):
        loaded(tmp_path / "weights.pt", changed)


def test_a_file_is_known_by_its_content(tmp_path, state):
    path = tmp_path / "weights.pt"
    save_file(state, path)
    assert read_weights(path).keys() == state.keys()


def test_a_torchscript_archive_is_named(tmp_path):
    path = tmp_path / "weights.pt"
    torch.jit.script(nn.Linear(2, 2)).save(path)
    with pytest.raises(InputError, match="is a TorchScript archive and no state dict; write"):
        load_float_model(FACTORY, path, GREY, CLASSES)


def test_names_of_another_network_are_said(tmp_path, state):
    other = {"module.fc.weight": state["classifier.weight"], **begun(state, "module.")}
    with pytest.raises(InputError, match=r"does not fit factory.*missing .*unexpected"):
        loaded(tmp_path / "weights.pt", other)


def small(kind):
    network = nn.Sequential(nn.Conv2d(1, 4, 3, stride=8), nn.Flatten(), nn.Linear(64, 3))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for layer in (network[0], network[2]):
            layer.reset_parameters()
    if kind == "weight_norm":
        with pytest.warns(FutureWarning):
            nn.utils.weight_norm(network[0])
    elif kind == "parametrized":
        nn.utils.parametrizations.weight_norm(network[0])
    elif kind == "spectral_norm":
        nn.utils.spectral_norm(network[2])
    elif kind == "pruned":
        nn.utils.prune.l1_unstructured(network[0], "weight", amount=0.5)
        nn.utils.prune.random_unstructured(network[2], "bias", amount=0.5)
    elif kind == "parallel":
        return nn.DataParallel(network)
    elif kind == "compiled":
        return torch.compile(network)
    elif kind == "scripted":
        return torch.jit.script(network)
    elif kind == "nothing":
        return None
    return network


@pytest.mark.parametrize(
    "kind", ["plain", "weight_norm", "parametrized", "spectral_norm", "pruned", "parallel"]
)
def test_weights_kept_in_parts_are_put_together_once(tmp_path, kind):
    network = small(kind).eval()
    images = torch.rand(2, 1, 28, 28)
    expected = network(images).detach()
    path = tmp_path / "weights.pt"
    torch.save(network.state_dict(), path)
    model = load_float_model(f"{__name__}.small", path, GREY, list("abc"), {"kind": kind})
    assert torch.allclose(model.module(images), expected, atol=1e-6)
    names = {name.rpartition(".")[2] for name, _ in model.module.named_parameters()}
    assert names == {"weight", "bias"}


def test_a_compiled_network_is_the_network(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(small("plain").state_dict(), path)
    model = load_float_model(f"{__name__}.small", path, GREY, list("abc"), {"kind": "compiled"})
    assert type(model.module) is nn.Sequential


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("scripted", "returns a TorchScript network, whose layers cannot be quantized; give"),
        ("nothing", "returns nothing and no torch.nn.Module; give"),
    ],
)
def test_what_a_factory_must_not_return(tmp_path, kind, message):
    path = tmp_path / "weights.pt"
    torch.save(small("plain").state_dict(), path)
    with pytest.raises(InputError, match=message):
        load_float_model(f"{__name__}.small", path, GREY, list("abc"), {"kind": kind})


def test_arguments_that_a_factory_does_not_take(tmp_path, state):
    with pytest.raises(
        InputError, match=r"cannot be called with \{'depth': 5\} \(TypeError: .*'dep"
    ):
        loaded(tmp_path / "weights.pt", state, arguments={"depth": 5})
