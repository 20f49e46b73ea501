import signal

import click
import pytest
import yaml
from kedro.framework.project import configure_project
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import Node, Pipeline

from ptq_pipeline.configuration import check_parameters
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.exits import end_at_once
from ptq_pipeline.hooks import DOCUMENTS, InterruptHooks, ProvenanceHooks, mount_hooks
from ptq_pipeline.mounting import create_pipeline
from ptq_pipeline.pipelines import reporting, subgroup_scoring


def test_ctrl_c_under_a_command_ends_with_130_and_one_sentence(capsys):
    hooks = InterruptHooks()
    with click.Context(click.Command("run")):
        hooks.before_pipeline_run()
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(signal.SIGINT)
        # What C code made an error of it ends the same way.
        with pytest.raises(SystemExit) as again:
            hooks.on_pipeline_error()
    assert ended.value.code == again.value.code == 130
    assert "finished trials are kept" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_is_given_back_when_the_command_ends_before_its_run():
    hooks, before = InterruptHooks(), signal.getsignal(signal.SIGINT)
    with click.Context(click.Command("run")):
        hooks.after_context_created()
        assert signal.getsignal(signal.SIGINT) is end_at_once
        hooks.before_pipeline_run()
        assert signal.getsignal(signal.SIGINT) == hooks._stop
    assert signal.getsignal(signal.SIGINT) is before
    with click.Context(click.Command("plan")):
        hooks.after_context_created()
        assert signal.getsignal(signal.SIGINT) is before


def test_a_run_logs_one_line_a_stage(caplog):
    hooks = ProvenanceHooks()
    pipeline = subgroup_scoring.create_pipeline() + reporting.create_pipeline()
    hooks.before_pipeline_run(pipeline, DataCatalog())
    with caplog.at_level("INFO", "ptq_pipeline"):
        for node in pipeline.nodes:
            hooks.before_node_run()
            hooks.after_node_run(node)
    assert [line.partition(" s)")[0].rpartition(",")[0] for line in caplog.messages] == [
        "subgroup_scoring done (1 of 2 stages",
        "reporting done (2 of 2 stages",
    ]


def test_an_interrupt_that_is_ignored_stays_ignored():
    hooks = InterruptHooks()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with click.Context(click.Command("run")):
            hooks.before_pipeline_run()
            signal.raise_signal(signal.SIGINT)
            hooks.after_pipeline_run()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_of_a_host_that_runs_a_session_is_left_alone():
    hooks = InterruptHooks()
    before = signal.getsignal(signal.SIGINT)
    hooks.before_pipeline_run()
    assert signal.getsignal(signal.SIGINT) is before
    hooks.after_pipeline_run()
    assert signal.getsignal(signal.SIGINT) is before


def mounted(namespace):
    """One stage of the audit under a namespace, and a node of the host's own beside it."""
    own = Pipeline([Node(lambda: 1, None, "etl.table", name="own", namespace="etl")])
    return create_pipeline(namespace, stages=["reporting"]) + own


def test_unknown_groups_of_a_mount_are_refused_and_others_are_the_hosts():
    catalog = DataCatalog(
        {"parameters": MemoryDataset({"shop": {"dataloading": {}}, "etl": {"x": 1}})}
    )
    with pytest.raises(
        InputError, match="group.s. dataloading of the mount 'shop'; did you mean 'data_loading'"
    ):
        mount_hooks.before_pipeline_run(mounted("shop"), catalog)
    mount_hooks.before_pipeline_run(mounted("farm"), catalog)
    mount_hooks.before_pipeline_run(create_pipeline(stages=["reporting"]), DataCatalog())


def test_what_an_environment_dropped_is_explained():
    configure_project("ptq_pipeline")
    with pytest.raises(InputError, match=r"calibration.seed: is missing; .* replaces a group as a"):
        check_parameters({"calibration": {"draws": 4}})


def test_a_mount_ends_its_run_with_the_summary(capsys):
    catalog = DataCatalog({"shop.summary": MemoryDataset({"lines": ["FAIL: Sandal"]})})
    catalog["shop.provenance"] = MemoryDataset()
    mount_hooks.before_pipeline_run(mounted("farm"), DataCatalog({"parameters": MemoryDataset({})}))
    mount_hooks.after_pipeline_run({"project_path": "."}, mounted("shop"), catalog)
    assert capsys.readouterr().out == "\nFAIL: Sandal\n"
    assert catalog.load("shop.provenance")["pipelines"] == ["__default__"]


def test_what_a_dataset_of_this_package_refused_is_said_without_what_kedro_wraps_around_it():
    refused = InputError("'images.csv' has no column 'label'")
    inner, outer = DatasetError("while loading"), DatasetError("image_source: while loading")
    inner.__cause__, outer.__cause__ = refused, inner
    with pytest.raises(InputError, match="^'images.csv' has no column 'label'$"):
        mount_hooks.on_pipeline_error(outer)
    mount_hooks.on_pipeline_error(DatasetError("no cause"))
    mount_hooks.on_pipeline_error(refused)


def test_a_catalog_that_loads_plain_json_is_refused_before_any_node(project):
    entry = {"type": "ptq_pipeline.datasets.JSONDataset", "filepath": "data/verdict.json"}
    catalog = DataCatalog.from_config({"shop.verdict": entry, "metrics": entry})
    pipeline = Pipeline(reporting.create_pipeline(), namespace="shop")
    with pytest.raises(InputError, match="'shop.verdict' loads plain JSON.*`kedro ptq init` wri"):
        ProvenanceHooks().before_pipeline_run(pipeline, catalog)
    shipped = (yaml.safe_load(path.read_text()) for path in project.glob("conf/base/catalog*.yml"))
    kinds = {name: entry["type"] for each in shipped for name, entry in each.items()}
    documents = {name for name, kind in kinds.items() if kind.endswith(".DocumentDataset")}
    assert {name.rpartition(".")[2] for name in documents} == DOCUMENTS
