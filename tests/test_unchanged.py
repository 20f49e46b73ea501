"""What was made from the same is not made again, and what was made from anything else is."""

from collections import Counter
from functools import wraps

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner, ThreadRunner
from kedro_datasets.json import JSONDataset as PlainJSONDataset
from tests.hooked import run_hooked

from ptq_pipeline import unchanged
from ptq_pipeline.core.names import ENTERS_A_LOOK, RUNS_CODE_OF_OTHERS
from ptq_pipeline.core.seals import Seal, read_seal, seal_path, write_seal
from ptq_pipeline.datasets import JSONDataset
from ptq_pipeline.datasets.state import AuditLedgerDataset
from ptq_pipeline.sealing import SealHooks

RAN: Counter = Counter()


def ours(function):
    """Count the runs of a function, which is taken for one of this package's nodes."""

    @wraps(function)
    def node(*inputs, **named):
        RAN[function.__name__] += 1
        return function(*inputs, **named)

    node.__module__ = "ptq_pipeline.pipelines.worst_case_check.nodes"
    return node


@ours
def decode(source, parameters):
    return {"images": sorted(source)}


@ours
def measure(samples, parameters):
    return [{"scores": [parameters["factor"] * each for each in samples["images"]]}]


@ours
def gather(scores):
    return {"all": scores["scores"]}


@ours
def judge(gathered, ledger):
    return {"result": sum(gathered["all"])}, {"worst": max(gathered["all"])}


@ours
def decide(verdict, gathered):
    return {"decided": {"decision": verdict["result"] > 0, "of": len(gathered["all"])}}


CHAIN = Pipeline(
    [
        Node(decode, ["image_source", "params:data_loading"], "samples", name="decode_images"),
        Node(measure, ["samples", "params:scoring"], ["scores"], name="score"),
        Node(gather, "scores", "gathered", name="gather"),
        Node(judge, ["gathered", "audit_ledger"], ["verdict", "worst_case_table"], name="judge"),
        # Inputs and outputs in each of the forms that Kedro knows.
        Node(
            decide,
            {"verdict": "verdict", "gathered": "gathered"},
            {"decided": "decision"},
            name="decide",
        ),
    ]
)


class Project:
    """A folder of results, its settings and its raw data."""

    def __init__(self, folder):
        self.folder = folder
        self.source, self.factor = [3, 1, 2], 2
        self.kinds = {}

    def run(self, pipeline=CHAIN, runner=None):
        """Run in a session of its own, and return which functions ran."""
        parameters = {"scoring": {"factor": self.factor}, "data_loading": {"seed": 0}}
        names = ("samples", "scores", "verdict", "worst_case_table", "decision")
        catalog = DataCatalog(
            {
                "image_source": MemoryDataset(self.source),
                "audit_ledger": AuditLedgerDataset(str(self.folder / "ledger.jsonl")),
                **{f"params:{name}": MemoryDataset(each) for name, each in parameters.items()},
                **{
                    name: self.kinds.get(name, JSONDataset)(
                        filepath=(self.folder / f"{name}.json").as_posix()
                    )
                    for name in names
                },
            }
        )
        RAN.clear()
        run_hooked(SealHooks(), pipeline, catalog, parameters, runner)
        return set(RAN)

    def bytes(self):
        """Return every file, with the seals."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in files}


@pytest.fixture
def project(tmp_path, monkeypatch):
    names = ("samples", "scores", "verdict", "worst_case_table", "decision")
    monkeypatch.setattr("ptq_pipeline.sealing.sealed_names", lambda: frozenset(names))
    found = Project(tmp_path)
    assert found.run() == {"decode", "measure", "gather", "judge", "decide"}
    return found


def test_a_run_after_one_that_was_killed_before_it_wrote_anything(project):
    before = project.bytes()
    for name in ("samples", "scores", "verdict", "worst_case_table", "decision"):
        path = project.folder / f"{name}.json"
        write_seal(path, Seal(content="", node="", parameters={}, inputs={}))
    project.run()
    assert project.bytes() == before


@pytest.mark.parametrize("runner", [SequentialRunner, ThreadRunner])
def test_the_second_run_computes_only_what_has_no_hash(project, runner):
    before = project.bytes()
    assert project.run(runner=runner()) == {"decode"}
    assert project.bytes() == before
    assert {node.func for node in CHAIN.nodes} == {decode, measure, gather, judge, decide}


def test_other_parameters_and_what_follows_from_them(project):
    project.factor = 3
    assert project.run() == {"decode", "measure", "gather", "judge", "decide"}
    # Back again: what is stored is of the other ones.
    project.factor = 2
    assert project.run() == {"decode", "measure", "gather", "judge", "decide"}


def test_equal_content_changes_nothing_whoever_made_it(project):
    project.source = [1, 2, 3]
    assert project.run() == {"decode"}
    project.source = [1, 2, 4]
    assert project.run() == {"decode", "measure", "gather", "judge", "decide"}


@pytest.mark.parametrize("how", ["edited", "gone", "without a record"])
def test_a_result_that_is_not_the_recorded_one_is_made_again(project, how):
    path = project.folder / "decision.json"
    whole = path.read_bytes()
    if how == "edited":
        path.write_text('{"decision": false}')
    elif how == "gone":
        path.unlink()
    else:
        seal_path(path).with_suffix(unchanged.SUFFIX).unlink()
    # What the decision reads in memory is made as well, and the verdict is not.
    assert project.run() == {"decode", "gather", "decide"}
    assert path.read_bytes() == whole
    assert project.run() == {"decode"}


def test_other_code_or_another_processor_computes_everything(project, monkeypatch):
    monkeypatch.setattr(unchanged, "_code", lambda: "another release")
    assert project.run() == {"decode", "measure", "gather", "judge", "decide"}


def test_state_that_decides_is_an_input(project):
    (project.folder / "ledger.jsonl").write_text("{}\n")
    # The verdict is made again; it is the same, so the decision is not.
    assert project.run() == {"decode", "gather", "judge"}


def tagged(name, tag):
    return Pipeline([node.tag(tag) if node.name == name else node for node in CHAIN.nodes])


def test_what_runs_code_of_others_runs_in_every_run(project):
    assert project.run(tagged("score", RUNS_CODE_OF_OTHERS)) == {"decode", "measure"}


def test_what_enters_a_look_does_not_wait_for_later_ones(project):
    entering, ledger = tagged("judge", ENTERS_A_LOOK), project.folder / "ledger.jsonl"
    ledger.write_text("{}\n")
    assert project.run(entering) == {"decode", "gather", "judge"}
    ledger.write_text("{}\n{}\n")
    assert project.run(entering) == {"decode"}


def test_a_run_that_starts_in_the_middle_leaves_what_it_can(project):
    assert project.run(CHAIN.only_nodes("judge", "decide", "gather")) == set()


def test_a_dataset_of_the_host_is_written_in_every_run(project):
    project.kinds = {"verdict": PlainJSONDataset}
    assert project.run() == {"decode", "gather", "judge"}


def test_a_failed_run_gives_functions_and_seals_back(project):
    before = project.bytes()

    @ours
    def failing(decision):
        raise ValueError("no report")

    with pytest.raises(ValueError, match="no report"):
        project.run(CHAIN + Pipeline([Node(failing, "decision", "report", name="report")]))
    assert {node.func for node in CHAIN.nodes} == {decode, measure, gather, judge, decide}
    assert project.bytes() == before
    assert read_seal(project.folder / "decision.json").content
