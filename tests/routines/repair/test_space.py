import pytest
import torch
import yaml
from torch import nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import resnet20
from ptq_pipeline.ptq import method_from_json, prepare
from ptq_pipeline.routines.repair.environment import (
    MARK,
    changes_of,
    check_environment,
    write_environment,
)
from ptq_pipeline.routines.repair.parameters import RepairParameters
from ptq_pipeline.routines.repair.space import AS_IT_IS, packed_bytes, variants

W4A8 = {"weight_bits": 4, "activation_bits": 8}


@pytest.fixture(scope="module")
def prepared():
    return prepare(resnet20().eval(), torch.zeros(2, 1, 28, 28))


def found(prepared, own=W4A8, calibration=None, **parameters):
    return variants(
        prepared,
        method_from_json(own),
        calibration or {"set_size": 64},
        RepairParameters.model_validate(parameters),
    )


def test_the_configured_recipe_comes_first_and_none_comes_twice(prepared):
    recipes, notes = found(prepared)
    assert recipes[0].name == AS_IT_IS
    assert recipes[0].method == method_from_json(W4A8)
    assert len({each.key for each in recipes}) == len({each.name for each in recipes})
    assert not notes
    methods = [each.method.name for each in recipes]
    assert set(methods) == {"nearest", "gptq"}
    bits = {(each.method.weight_bits, each.method.activation_bits) for each in recipes}
    assert bits == {(4, 8)}
    assert {"set_size": 128} in [each.calibration for each in recipes]


def test_few_activation_bits_bring_the_first_input_at_eight(prepared):
    names = [each.name for each in found(prepared, {"weight_bits": 4, "activation_bits": 4})[0]]
    assert "gptq, output_matching, first_input_8_bit" in names
    assert not any("first_input" in each.name for each in found(prepared)[0])
    eight = found(prepared, {"weight_bits": 8, "activation_bits": 8})[0]
    assert not any("8_bit" in each.name for each in eight)


def test_bytes_are_those_of_packed_weights(prepared):
    plain = packed_bytes(prepared, method_from_json(W4A8))
    weights = sum(prepared.weight(layer.name).size for layer in prepared.layers)
    channels = sum(layer.weight_shape[0] for layer in prepared.layers)
    assert plain == weights // 2 + 8 * channels
    ends = packed_bytes(prepared, method_from_json(W4A8 | {"first_last_8_bit": True}))
    assert ends - plain == (16 * 9 + 64 * 10) // 2


def test_constraints_leave_recipes_out(prepared):
    plain = packed_bytes(prepared, method_from_json(W4A8))
    recipes, notes = found(prepared, max_bytes=plain)
    assert max(each.size for each in recipes) == plain
    assert notes == ["2 recipes are left out by the constraints"]
    recipes, _ = found(prepared, eight_bits=["classifier"])
    assert {each.method.layer_weight_bits["classifier"] for each in recipes} == {8}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_bytes": 10}, r"no recipe meets the constraints max_bytes=10, .* bytes\. Loosen"),
        ({"eight_bits": ["head"]}, "repair.eight_bits: the model has no layer 'head'; its layers"),
    ],
)
def test_constraints_that_no_recipe_meets_are_named(prepared, parameters, message):
    with pytest.raises(InputError, match=message):
        found(prepared, **parameters)


def test_a_model_without_batch_norm_goes_without_its_reestimation():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 3))
    recipes, notes = found(prepare(module.eval(), torch.zeros(2, 1, 28, 28)))
    assert notes == ["no batch norm was folded into a layer: re-estimation is left out"]
    assert not any("batch_norm_reestimation" in each.method.corrections for each in recipes)


def test_own_recipes_are_tried_and_broken_ones_are_said(prepared):
    mine = {"name": "gptq", "weight_bits": 5}
    recipes, notes = found(prepared, recipes={"mine": mine, "wrong": {"name": "nothing"}})
    assert recipes[-1].name == "mine" and recipes[-1].method.weight_bits == 5
    assert notes[0].startswith("'wrong' is left out: method: unknown name 'nothing'")


def test_the_winner_is_an_environment_that_removes_what_it_does_not_have(prepared, tmp_path):
    own = {**W4A8, "weight_granularity": "per_channel", "activation_range": "minmax"}
    winner = next(each for each in found(prepared)[0] if "128 images" in each.name)
    changes = changes_of(winner, own, {"set_size": 64})
    assert changes["calibration"] == {"set_size": 128}
    assert changes["quantization"]["method"]["weight_granularity"] is None
    write_environment(tmp_path / "conf/better", changes, "It helps.")
    folder = check_environment(tmp_path, "better")
    text = (folder / "parameters_quantization.yml").read_text()
    assert text.startswith(f"{MARK}\n# It helps.\n")
    merged = own | yaml.safe_load(text)["quantization"]["method"]
    kept = {key: value for key, value in merged.items() if value is not None}
    assert method_from_json(kept) == winner.method
    assert yaml.safe_load((folder / "globals.yml").read_text()) == {
        "data": "data/better",
        "environment": "better",
    }
    # A recipe that draws as configured leaves no file behind.
    write_environment(folder, {"quantization": changes["quantization"]}, "It helps.")
    assert not (folder / "parameters_calibration.yml").exists()


def test_an_environment_holds_what_the_one_of_the_search_says(tmp_path):
    origin = tmp_path / "conf/mine"
    origin.mkdir(parents=True)
    (origin / "globals.yml").write_text(
        "data: data/mine\nenvironment: mine\nproduction: /arrives\n"
    )
    (origin / "catalog.yml").write_text("float_model: {weights: '${globals:data}/w'}\n")
    (origin / "credentials.yml").write_text("store: {key: secret}\n")
    method = {"weight_bits": 4, "activation_range": "mse"}
    both = {"quantization": {"method": method}, "stress": {"clean": {}}}
    (origin / "parameters.yml").write_text(yaml.safe_dump(both))
    changes = {"quantization": {"method": {"name": "gptq", "activation_range": "minmax"}},
               "calibration": {"set_size": 128}}  # fmt: skip
    folder = tmp_path / "conf/better"
    write_environment(folder, changes, "It helps\ndata: elsewhere", origin)
    read = {file.name: yaml.safe_load(file.read_text()) for file in folder.iterdir()}
    assert read == {
        "globals.yml": {"data": "data/better", "environment": "better", "production": "/arrives"},
        "catalog.yml": {"float_model": {"weights": "${globals:data}/w"}},
        "parameters.yml": {
            "quantization": {"method": {**method, "name": "gptq", "activation_range": "minmax"}},
            "stress": {"clean": {}},
        },
        "parameters_calibration.yml": {"calibration": {"set_size": 128}},
    }
    assert check_environment(tmp_path, "better") == folder


@pytest.mark.parametrize("name", ["base", "../elsewhere", ""])
def test_an_environment_needs_a_name_of_its_own(tmp_path, name):
    with pytest.raises(InputError, match="--name: .* cannot be an environment of its own"):
        check_environment(tmp_path, name)


def test_somebody_elses_environment_is_left_alone(project):
    with pytest.raises(InputError, match="'conf/quick' exists and was not written by"):
        check_environment(project, "quick")
