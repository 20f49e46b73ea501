import sys

import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import resnet20
from ptq_pipeline.models.factories import build_network, import_factory

SHIPPED = ["ptq_pipeline.models.", "torchvision.models."]
PACKAGE = """
import os
from os import system as borrowed
from torch import nn

class Net(nn.Linear):
    pass

def network(width: int = 2) -> nn.Module:
    return nn.Linear(width, 2)

def unannotated(width=2):
    return nn.Linear(width, 2)

def text() -> str:
    return "no network"

def liar() -> nn.Module:
    return "no network"

def _private() -> nn.Module:
    return nn.Linear(2, 2)

alias = _private
made = network
anonymous = lambda: nn.Linear(2, 2)
"""


@pytest.fixture
def orchard(tmp_path, monkeypatch):
    (tmp_path / "orchard_x").mkdir()
    (tmp_path / "orchard_x/__init__.py").write_text("")
    (tmp_path / "orchard_x/networks.py").write_text(PACKAGE)
    (tmp_path / "orchard_x/_hidden.py").write_text(PACKAGE)
    (tmp_path / "orchard_x/evil.py").write_text("raise SystemExit('this module was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    yield "orchard_x.networks"
    for name in [name for name in sys.modules if name.startswith("orchard_x")]:
        del sys.modules[name]


def test_without_a_restriction_every_callable_may_be_named():
    assert import_factory("ptq_pipeline.models.resnet20") is resnet20
    assert import_factory("os.path.join")
    with pytest.raises(InputError, match="cannot be imported"):
        import_factory("ptq_pipeline.models.nothing")
    with pytest.raises(InputError, match="is not callable"):
        import_factory("os.sep")


@pytest.mark.parametrize(
    "dotted",
    [
        "ptq_pipeline.models.resnet20",
        "ptq_pipeline.models.mobilenet_v2_small",
        "torchvision.models.resnet18",
        "torchvision.models.vision_transformer.VisionTransformer",
    ],
)
def test_the_shipped_entry_allows_networks(dotted):
    assert callable(import_factory(dotted, SHIPPED))


@pytest.mark.parametrize(
    "dotted",
    [
        "os.system",
        "torchvision.models._api.load_state_dict_from_url",
        "torchvision.models._utils.load_state_dict_from_url",
        "torchvision.models.get_model",
        "torchvision.models.list_models",
        "torchvision.models.resnet.partial",
        "torchvision.models.resnet.register_model",
        "torchvision.models.vision_transformer.interpolate_embeddings",
        "torchvision.models_evil.resnet18",
        "ptq_pipeline.models.load_float_model",
        "ptq_pipeline.models.loading.read_weights",
        "ptq_pipeline.models.loading.build_network",
        "ptq_pipeline.models.factories.build_network",
        "ptq_pipeline.models.factories.import_factory",
        "ptq_pipeline.models.factories.build_network.__call__",
        "ptq_pipeline.models.factories.importlib.import_module",
        "ptq_pipeline.hooks.MountHooks",
    ],
)
def test_nothing_else_is_reached_through_the_shipped_entry(dotted):
    with pytest.raises(
        InputError, match=r"outside 'allowed_factories'|not a public network|cannot"
    ):
        build_network(dotted, {}, SHIPPED)


def test_own_helpers_cannot_be_given_what_to_import():
    arguments = {"dotted": "os.system", "arguments": {}}
    helper = "ptq_pipeline.models.factories.build_network"
    with pytest.raises(InputError, match="the argument 'os.system' names code"):
        build_network(helper, arguments, [helper])


@pytest.mark.parametrize("name", ["network", "Net", "made"])
def test_a_package_allows_its_networks(orchard, name):
    arguments = {"in_features": 2, "out_features": 2} if name == "Net" else {}
    assert build_network(f"{orchard}.{name}", arguments, ["orchard_x."])


@pytest.mark.parametrize(
    "name", ["borrowed", "unannotated", "text", "_private", "alias", "anonymous", "nn", "os"]
)
def test_a_package_allows_nothing_else_of_it(orchard, name):
    with pytest.raises(InputError):
        build_network(f"{orchard}.{name}", {}, ["orchard_x."])


def test_a_private_module_is_not_imported(orchard):
    with pytest.raises(InputError, match="outside 'allowed_factories'"):
        import_factory("orchard_x._hidden.network", ["orchard_x."])
    assert "orchard_x._hidden" not in sys.modules


def test_a_module_outside_is_not_imported(orchard):
    with pytest.raises(InputError, match="outside 'allowed_factories'"):
        import_factory("orchard_x.evil.network", ["orchard_x.networks."])
    with pytest.raises(InputError, match="or its package with a dot at the end"):
        import_factory(f"{orchard}.network", [orchard])


def test_an_exact_path_allows_what_the_rule_does_not(orchard):
    exact = f"{orchard}.unannotated"
    assert build_network(exact, {"width": 3}, [exact]).in_features == 3


def test_what_is_built_is_a_network(orchard):
    with pytest.raises(InputError, match="returns a str and no torch.nn.Module"):
        build_network(f"{orchard}.liar", {}, ["orchard_x."])


@pytest.mark.parametrize(
    "arguments",
    [
        {"a": "os.system"},
        {"a": ["x", {"b": "subprocess:run"}]},
        {"os.system": 1},
        {"a": "ptq_pipeline.models.factories.import_factory"},
    ],
)
def test_arguments_of_a_restricted_factory_name_no_code(orchard, arguments):
    with pytest.raises(InputError, match="names code of an installed package"):
        build_network(f"{orchard}.network", arguments, ["orchard_x."])


def test_texts_that_name_no_package_are_plain_values(orchard):
    exact = "builtins.dict"
    for text in ("resnet50.a1_in1k", "IMAGENET1K_V1", "0.5", "a b.c", "no_such_package_x.y"):
        with pytest.raises(InputError, match="returns a dict and no torch"):
            build_network(exact, {"weights": text}, [exact])
