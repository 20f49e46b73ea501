"""What must hold for every node of every pipeline."""

import shutil
from pathlib import Path
from typing import get_type_hints

import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.project import configure_project, pipelines
from kedro.validation.type_extractor import TypeExtractor

from ptq_pipeline import settings
from ptq_pipeline.configuration import PARAMETER_GROUPS
from ptq_pipeline.core.names import ENTERS_A_LOOK, RUNS_CODE_OF_OTHERS
from ptq_pipeline.mounting import DEFAULT, create_pipeline

BENCH, LEARNED = "study/bench", "study/reconstruction"

configure_project("ptq_pipeline")
NODES = {node.name: node for pipeline in pipelines.values() for node in pipeline.nodes}


def conf(project, env):
    return OmegaConfigLoader(str(project / "conf"), env=env, **settings.CONFIG_LOADER_ARGS)


def test_the_default_run_is_the_whole_chain():
    names = {node.name for stage in DEFAULT for node in pipelines[stage].nodes}
    assert {node.name for node in pipelines["__default__"].nodes} == names
    by_name = {
        "benchmark",
        "reference_training",
        "settling",
        "until_refused",
        "sampled",
        "release",
        "monitoring",
        "reaudit",
        "requantization",
    }
    assert set(pipelines) == {*DEFAULT, *by_name, "__default__"}


@pytest.mark.parametrize("name", NODES)
def test_type_hints_resolve(name):
    # Kedro validates parameters by them, and does nothing when one of them cannot be resolved.
    get_type_hints(NODES[name].func)


@pytest.mark.parametrize(
    "env", ["base", "quick", "full", "passing", "repaired", "detection", BENCH]
)
def test_every_parameter_group_is_known_and_valid(project, env):
    loader = conf(project, env)
    parameters = loader["parameters"]
    assert set(parameters) == PARAMETER_GROUPS
    for node in NODES.values():
        hints = list(get_type_hints(node.func).values())
        for position, name in enumerate(node.inputs):
            if name.startswith("params:"):
                value = parameters
                for key in name.removeprefix("params:").split("."):
                    value = value[key]
                hints[position].model_validate(value)


@pytest.mark.parametrize(
    "env", ["quick", "full", "passing", "repaired", "detection", BENCH, LEARNED]
)
def test_other_environments_write_elsewhere(project, env):
    base, other = conf(project, "base")["catalog"], conf(project, env)["catalog"]
    written = {name for pipeline in pipelines.values() for name in pipeline.all_outputs()}
    for name in written & set(base):
        in_memory = base[name]["type"] == "MemoryDataset"
        if not name.endswith("_record") and "{" not in name and not in_memory:
            assert base[name]["filepath"] != other[name]["filepath"], name
            assert other[name]["filepath"].startswith(f"data/{Path(env).name}/")


def test_every_dataset_between_pipelines_is_in_the_catalog(project):
    entries = conf(project, "base")["catalog"]
    for name, pipeline in pipelines.items():
        if name in DEFAULT:
            free = {x for x in pipeline.inputs() if not x.startswith("params:")}
            assert free <= set(entries), name


PARAMETERS = TypeExtractor(dict(pipelines)).extract_types_from_pipelines()
# A table of the parameters, an entry that it may have, and how to reach it.
TABLES = [
    ("quantization", "runtime", "optimization"),
    ("quantization", "method", "rounding"),
    ("benchmark", "runtime", "optimization"),
    ("benchmark", "studies", "another"),
    ("benchmark", "methods", "another"),
    ("data_loading", "segments", "another"),
    ("business", "error_cost", "another"),
    ("business", "shares", "another"),
    ("calibration", "options", "another"),
    ("stress", "another"),
    ("worst_case_check", "class_priors", "another"),
    ("worst_case_check", "class_priors", "night", "another"),
]


@pytest.mark.parametrize("place", TABLES, ids=".".join)
def test_null_removes_an_entry_of_any_table(project, place):
    given = conf(project, "base")["parameters"]
    given["worst_case_check"]["class_priors"] = {"night": {"Bag": 1.0}}
    given["business"]["shares"] = {"Bag": 1.0}
    group, *inner, entry = place
    table = given[group]
    for key in inner:
        table = table.setdefault(key, {})
    model = PARAMETERS[group]
    without = model.model_validate(given[group])
    table[entry] = None
    assert model.model_validate(given[group]) == without


@pytest.mark.parametrize("env", [BENCH, LEARNED])
def test_a_study_writes_elsewhere_in_a_hidden_folder_too(project, tmp_path, env):
    """Kedro passes over what is outside the configuration and below a name with a dot."""
    hidden = tmp_path / ".cache" / "project"
    shutil.copytree(project / "conf", hidden / "conf")
    found = conf(hidden, env)
    assert found["globals"]["data"] == conf(project, env)["globals"]["data"]
    assert found["globals"]["trial_store"] == f"data/{Path(env).name}/07_model_output/trials"


def test_every_node_has_a_stage_as_its_tag_also_in_a_mount():
    nodes = [*pipelines["__default__"].nodes, *create_pipeline("shop").nodes]
    stages = [node.tags - {RUNS_CODE_OF_OTHERS, ENTERS_A_LOOK} for node in nodes]
    assert all(len(each) == 1 and each <= set(DEFAULT) for each in stages)
    assert set().union(*stages) == set(DEFAULT)
