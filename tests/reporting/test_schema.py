import copy
import json
from importlib import resources

import jsonschema
import pytest


@pytest.fixture(scope="module")
def validator():
    folder = resources.files("ptq_pipeline.reporting").joinpath("schemas")
    schema = json.loads(folder.joinpath("verdict.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_a_verdict_keeps_the_published_schema(validator, inputs):
    assert [error.message for error in validator.iter_errors(inputs.verdict)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("result",), "MAYBE"),
        (("schema_version",), 99),
        (("candidate", "cells", 0, "drop"), "8.8"),
        (("candidate", "cells", 0, "status"), "fine"),
        (("policy_hash",), "abc"),
        (("reasons", 0, "text"), None),
    ],
)
def test_another_verdict_does_not(validator, inputs, path, value):
    verdict = copy.deepcopy(dict(inputs.verdict))
    place = verdict
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert list(validator.iter_errors(verdict))
