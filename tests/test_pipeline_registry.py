"""What must hold for every node of every pipeline."""

from pathlib import Path
from typing import get_type_hints

import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.project import configure_project, pipelines

from ptq_pipeline import settings
from ptq_pipeline.hooks import PARAMETER_GROUPS
from ptq_pipeline.mounting import DEFAULT

BENCH, LEARNED = "../benchmarks/conf/bench", "../benchmarks/conf/reconstruction"

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


@pytest.mark.parametrize("env", ["base", "quick", "full", "passing", BENCH])
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


@pytest.mark.parametrize("env", ["quick", "full", "passing", BENCH, LEARNED])
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
