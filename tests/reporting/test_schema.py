import json
from importlib import resources

import jsonschema
import pytest
from kedro.config import OmegaConfigLoader
from tests.reporting.conftest import MadeUpAudit, build_inputs

from ptq_pipeline import settings
from ptq_pipeline.core.canonical import file_bytes
from ptq_pipeline.judgement.building import AuditSetting, build_verdict
from ptq_pipeline.judgement.business import Business
from ptq_pipeline.judgement.judged_groups import Representative
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.verdict import published_schema
from ptq_pipeline.stress.shifts import StressParameters


@pytest.fixture(scope="module")
def validator():
    folder = resources.files("ptq_pipeline.reporting").joinpath("schemas")
    schema = json.loads(folder.joinpath("verdict.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_published_schema_is_what_the_model_gives():
    """After a change: `file_bytes(published_schema())` is the new content of the file."""
    folder = resources.files("ptq_pipeline.reporting").joinpath("schemas")
    assert folder.joinpath("verdict.schema.json").read_bytes() == file_bytes(published_schema())


def complaints(validator, verdict):
    """Return what is wrong with a verdict as its file holds it."""
    return [error.message for error in validator.iter_errors(json.loads(json.dumps(verdict)))]


def test_a_verdict_keeps_the_published_schema(validator, inputs):
    assert complaints(validator, inputs.verdict.to_json()) == []


def test_the_verdict_in_git_keeps_the_published_schema(validator, project):
    verdict = json.loads((project / "data/08_reporting/verdict.json").read_text("utf-8"))
    assert complaints(validator, verdict) == []


@pytest.mark.parametrize("env", ["quick", "passing", pytest.param("full", marks=pytest.mark.slow)])
def test_a_verdict_by_the_policy_of_each_environment_keeps_it(validator, project, env):
    parameters = OmegaConfigLoader(str(project / "conf"), env=env, **settings.CONFIG_LOADER_ARGS)[
        "parameters"
    ]
    policy = Policy.model_validate(parameters["worst_case_check"])
    draws, shifts = policy.draws, tuple(StressParameters(parameters["stress"]).root)
    verdict = build_inputs(MadeUpAudit(draws=draws, shifts=shifts, policy=policy)).verdict.to_json()
    assert {cell["shift"] for cell in verdict["candidate"]["cells"]} == set(shifts)
    assert verdict["policy"]["draws"] == draws == {"quick": 5}.get(env, 50)
    assert complaints(validator, verdict) == []


def test_class_mixes_representatives_and_business_are_part_of_the_schema(validator, inputs):
    classes = inputs.classes
    mixes = {"winter": {name: 3.0 if name == "Coat" else 1.0 for name in classes}}
    policy = Policy.model_validate(inputs.verdict.policy.to_json() | {"class_priors": mixes})
    business = Business.model_validate(
        {
            "requests_per_month": 2e7,
            "default_error_cost": 0.05,
            "prices": {"float_model": 0.08, "integer_model": 0.03},
        }
    )
    found, _ = build_verdict(
        *(inputs.scores, inputs.trials, inputs.calibration_set_index, policy),
        AuditSetting(business=business),
    )
    chosen = Representative(level="class", group="Coat", why="lowest_accuracy", value=0.81, n=900)
    verdict = found.model_copy(update={"representatives": (chosen,)}).to_json()
    assert verdict["class_priors"]
    assert complaints(validator, verdict) == []
    assert complaints(validator, verdict | {"representatives": [{"level": "class"}]})
    assert complaints(validator, verdict | {"class_priors": [{"name": "winter"}]})
    assert complaints(validator, verdict | {"business": {"net": 1.0}})


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
    verdict = inputs.verdict.to_json()
    place = verdict
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert list(validator.iter_errors(verdict))
