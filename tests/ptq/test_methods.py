import json
from dataclasses import dataclass, fields
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any, Literal

import pytest
from torch import Tensor

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import (
    MethodConfig,
    MethodSpec,
    PreparedModel,
    RegisteredMethod,
    calibrate,
    find_method,
    method_from_json,
    method_names,
    methods,
    quantize_model,
)
from ptq_pipeline.ptq.ranges import MinMax, RangeEstimator


@dataclass(frozen=True, kw_only=True)
class Config(MethodConfig):
    rounds: int = 3
    rate: float = 0.5
    exact: bool = False
    unit: Literal["layer", "block"] = "layer"
    extra: int | None = None
    weight_range: RangeEstimator = MinMax()


def _run(prepared: Any, batches: Any, method: Any, seed: int, weights: Any) -> Any:
    return calibrate(prepared, batches, MethodSpec(method.weight_bits, method.activation_bits))


PLUGIN = RegisteredMethod(
    name="theirs",
    paper="none",
    summary="for tests",
    config=Config,
    run=_run,
    defaults={"rounds": 5},
    weight_bits=(4, 8),
)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints(
        [
            EntryPoint("theirs", f"{__name__}:PLUGIN", methods.ENTRY_POINTS),
            EntryPoint("broken", "no_such_package:METHOD", methods.ENTRY_POINTS),
            EntryPoint("odd", "json:dumps", methods.ENTRY_POINTS),
        ]
    )
    monkeypatch.setattr(methods, "entry_points", points.select)
    monkeypatch.setattr(methods, "_METHODS", dict(methods._METHODS))
    monkeypatch.setattr(EntryPoint, "load", _load)


def _load(point: EntryPoint) -> Any:
    if point.name == "broken":
        raise ModuleNotFoundError("No module named 'no_such_package'")
    return PLUGIN if point.name == "theirs" else json.dumps


@pytest.mark.usefixtures("plugin")
def test_a_method_of_another_package_is_found_configured_and_run(
    prepared: PreparedModel, images: Tensor
) -> None:
    assert method_names()[-3:] == ["broken", "odd", "theirs"]
    method = method_from_json({"name": "theirs", "weight_bits": 4, "rate": 1})
    assert method == Config(name="theirs", weight_bits=4, rounds=5, rate=1.0)
    assert method_from_json(json.loads(json.dumps(method.to_json()))) == method
    parameters = quantize_model(prepared, [images[:8]], method, seed=0)
    assert all(layer.weight.scheme.bits == 4 for layer in parameters.layers.values())
    assert find_method("theirs").options()["rounds"] == 5


def test_every_option_is_listed_also_those_that_the_json_form_leaves_out() -> None:
    options = find_method("nearest").options()
    assert options.keys() == {part.name for part in fields(MethodSpec)}
    assert options["corrections"] == ()
    assert "corrections" not in method_from_json({"name": "nearest"}).to_json()


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "mine"}, r"unknown name 'mine'; allowed are .*'nearest'"),
        ({"name": "broken"}, r"'broken' cannot be loaded from 'no_such_package:METHOD'"),
        ({"name": "odd"}, r"must be a RegisteredMethod of that name"),
        ({"name": "theirs", "weight_bits": 5}, r"theirs: weight_bits must be one of \[4, 8\]"),
        ({"name": "theirs", "weight_bits": 1}, r"weight_bits: bits must be from 2 to 8, got 1"),
        ({"name": "theirs", "round": 5}, r"theirs: unknown key 'round'; allowed are .*'rounds'"),
        ({"name": "theirs", "rounds": 5.0}, r"rounds must be a whole number, got 5.0"),
        ({"name": "theirs", "rounds": True}, r"rounds must be a whole number, got True"),
        ({"name": "theirs", "exact": 1}, r"exact must be true or false, got 1"),
        ({"name": "theirs", "unit": "net"}, r"unit must be one of \['layer', 'block'\], got 'net'"),
        ({"name": "theirs", "extra": "x"}, r"extra must be a whole number, got 'x'"),
        ({"name": "theirs", "weight_range": "max"}, r"weight_range: unknown name 'max'"),
    ],
)
def test_bad_configurations(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        method_from_json(values)


def test_without_a_name_it_is_nearest() -> None:
    assert method_from_json({"weight_bits": 4}) == MethodSpec(weight_bits=4)
    assert "name" not in method_from_json({"name": "nearest"}).to_json()
    assert not method_from_json({"corrections": ["bias_correction"]}).reducible


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"corrections": ["bias"]}, r"corrections: unknown name 'bias'; allowed are"),
        ({"corrections": "bias_correction"}, r"corrections must be a list of names"),
        ({"layer_weight_bits": {"conv1": 9}}, r"layer_weight_bits: conv1: bits must be from 2 to"),
        ({"layer_weight_bits": 4}, r"layer_weight_bits must be a mapping"),
        ({"weight_symmetric": 1}, r"weight_symmetric must be true or false, got 1"),
        (
            {"corrections": ["batch_norm_reestimation"], "weight_granularity": "per_tensor"},
            r"needs weight_granularity 'per_channel'",
        ),
    ],
)
def test_bad_values_of_nearest(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        method_from_json(values)


def test_bits_of_single_layers(prepared: PreparedModel, images: Tensor) -> None:
    values = {"layer_weight_bits": {"conv1": 8}, "layer_activation_bits": {"classifier": 6}}
    method = method_from_json({"weight_bits": 4, "activation_bits": 4, **values})
    parameters = quantize_model(prepared, [images[:8]], method, seed=0)
    assert parameters.layers["conv1"].weight.scheme.bits == 8
    assert parameters.layers["classifier"].weight.scheme.bits == 4
    assert parameters.layers["classifier"].activation.scheme.bits == 6
    method = method_from_json({"layer_weight_bits": {"conv9": 8}})
    with pytest.raises(InputError, match="the model has no layer 'conv9'"):
        quantize_model(prepared, [images[:8]], method, seed=0)
