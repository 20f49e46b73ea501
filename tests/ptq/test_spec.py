import json

import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import MethodSpec
from ptq_pipeline.ptq.ranges import MinMax, Mse, Percentile


@pytest.mark.parametrize(
    "spec",
    [
        MethodSpec(),
        MethodSpec(4, 3, Mse(p=2.0), Percentile(99.9)),
        MethodSpec(2, 8, Percentile(), Mse(), "per_tensor"),
    ],
)
def test_json_round_trip(spec: MethodSpec) -> None:
    assert MethodSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_what_is_left_out_has_its_default_and_names_suffice() -> None:
    spec = MethodSpec.from_json({"activation_bits": 4, "weight_range": "mse"})
    assert spec == MethodSpec(8, 4, Mse(), MinMax(), "per_channel")


def test_specs_of_equal_meaning_have_equal_json() -> None:
    whole = MethodSpec.from_json({"activation_range": {"name": "percentile", "percentile": 99}})
    assert whole.to_json()["activation_range"] == {"name": "percentile", "percentile": 99.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight_bit": 4}, r"unknown key 'weight_bit'; allowed are .*'weight_bits'"),
        ({"weight_bits": 1}, r"weight_bits: bits must be from 2 to 8, got 1"),
        ({"activation_bits": 9}, r"activation_bits: bits must be from 2 to 8, got 9"),
        ({"weight_range": "max"}, r"weight_range: unknown name 'max'; allowed are .*'minmax'"),
        ({"weight_range": 3}, r"weight_range: unknown name 3"),
        ({"activation_range": {"name": "mse", "q": 2}}, r"unknown key 'q'; allowed are .*'p'"),
        ({"activation_range": {"name": "minmax", "p": 2}}, r"unknown key 'p'"),
        ({"activation_range": {"name": "mse", "p": 0}}, r"activation_range: mse: the exponent"),
        ({"activation_range": {"name": "mse", "p": "2"}}, r"p must be a number, got '2'"),
        ({"activation_range": {"name": "percentile", "percentile": 50}}, r"above 50"),
        ({"rounding": "adaround"}, r"rounding must be one of \['nearest'\], got 'adaround'"),
        ({"weight_granularity": "per_group"}, r"weight_granularity must be one of .*'per_tensor'"),
    ],
)
def test_bad_values_are_named_with_what_is_allowed(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MethodSpec.from_json(values)
