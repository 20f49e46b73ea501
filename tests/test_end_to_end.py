import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
from click.testing import CliRunner
from tests.locked import assert_locked
from tests.project import SmallProject

from ptq_pipeline.commands import ptq
from ptq_pipeline.core.answers import every_answer
from ptq_pipeline.unchanged import SUFFIX


@pytest.fixture(scope="module")
def finished(project, tmp_path_factory):
    small = SmallProject(project, tmp_path_factory.mktemp("finished"))
    code, output = small.run()
    assert code == 0, output
    return small, output, small.reproducible_files()


def reporting(small):
    return small.root / "data/08_reporting"


def load(small, name):
    return json.loads((reporting(small) / name).read_text())


def test_the_run_ends_in_a_verdict_a_decision_and_a_report(finished):
    small, output, _ = finished
    verdict, decision = load(small, "verdict.json"), load(small, "decision.json")
    assert verdict["result"] in {"PASS", "FAIL", "INCONCLUSIVE"}
    assert decision["verdict"] == verdict["result"]
    assert decision["candidate"]["trial_id"] == verdict["candidate"]["trial_id"]
    report = (reporting(small) / "report.html").read_text()
    assert verdict["policy_hash"] in report
    assert decision["decision_hash"] in report
    last = output.strip().splitlines()[-3:]
    assert "report" in last[-1].lower()


def test_what_it_says_is_locked(finished):
    assert_locked(finished[0].root / "data", "default")


def test_four_draws_can_never_pass(finished):
    assert load(finished[0], "verdict.json")["result"] in {"FAIL", "INCONCLUSIVE"}


def test_no_library_phones_home(finished):
    small, *_ = finished
    assert not small.network_log.exists(), small.network_log.read_text()
    assert "telemetry" not in (small.root / "pyproject.toml").read_text()


def test_scores_follow_from_predictions(finished):
    small, *_ = finished
    data = small.root / "data"
    samples = pd.read_parquet(data / "03_primary/samples.parquet").set_index("sample_id")
    predictions = pd.read_parquet(data / "07_model_output/predictions.parquet")
    float_predictions = pd.read_parquet(data / "07_model_output/float_predictions.parquet")
    scores = pd.read_parquet(data / "07_model_output/scores.parquet")
    assert set(scores["split"]) == {"selection", "audit"}
    answers = every_answer(predictions, float_predictions)
    joined = answers.merge(float_predictions, on=["shift", "sample_id"], suffixes=("", "_f"))
    joined = joined.join(samples[["label", "split", "tone"]], on="sample_id")
    joined["lost"] = (joined["predicted"] != joined["label"]) & (
        joined["predicted_f"] == joined["label"]
    )
    joined["gained"] = (joined["predicted"] == joined["label"]) & (
        joined["predicted_f"] != joined["label"]
    )
    joined["group"] = "tone=" + joined["tone"]
    keys = ["trial_id", "split", "shift", "group"]
    expected = joined.groupby(keys, observed=True)[["lost", "gained"]].sum()
    expected["n"] = joined.groupby(keys, observed=True).size()
    got = scores[scores["group"].str.startswith("tone=") & (scores["level"] == "segment")]
    columns = ["lost", "gained", "n"]
    assert rows(got, keys + columns) == rows(expected.reset_index(), keys + columns)


def rows(table, columns):
    return sorted(table[columns].astype(str).itertuples(index=False, name=None))


# That nothing in memory crosses a pipeline is tested without a run, in test_mounting.py.
@pytest.mark.slow
def test_every_hand_off_stands_on_disk(finished):
    small, *_ = finished
    code, output = small.run("--pipelines", "reporting")
    assert code == 0, output


def ignore_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_a_second_run_reuses_all_trials_and_changes_nothing(finished):
    """It is started as by `nohup kedro run &`, so Ctrl-C in that shell does not end it.

    Without the records of what was made from what, all but the trials is computed again.
    """
    small, _, files = finished
    for record in (small.root / "data").rglob(f"*{SUFFIX}"):
        record.unlink()
    trials = {path: path.stat().st_mtime_ns for path in trial_files(small)}
    process = small.start(start_new_session=True, preexec_fn=ignore_interrupts)
    while True:
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            output, _ = process.communicate(timeout=0.5)
            break
    assert process.returncode == 0, output
    assert {path: path.stat().st_mtime_ns for path in trial_files(small)} == trials
    assert_same(small.reproducible_files(), files)


def test_a_run_with_nothing_to_do_leaves_what_is_stored(finished):
    small, _, files = finished
    written = {name: (small.root / name).stat().st_mtime_ns for name in files}
    code, output = small.run()
    assert code == 0, output
    assert_same(small.reproducible_files(), files)
    again = {name for name in files if (small.root / name).stat().st_mtime_ns != written[name]}
    left = {
        *("04_feature/profiles.parquet", "07_model_output/predictions.parquet"),
        "07_model_output/scores.parquet",
        *(
            "08_reporting/verdict.json",
            "08_reporting/decision.json",
            "06_models/candidate/model.xml",
        ),
    }
    assert {f"data/{name}" for name in left} <= files.keys() - again
    seconds = load(small, "provenance.json")["node_seconds"]
    assert {name for name in ("profile_samples", "run_trials", "judge") if seconds[name]} == set()


def trial_files(small):
    return sorted((small.root / "data/07_model_output/trials").rglob("*.safetensors"))


def assert_same(files, expected):
    assert files.keys() == expected.keys()
    assert [name for name in files if files[name] != expected[name]] == []


# What follows is made of the answers: `test_a_second_run_...` holds that.
TO_THE_ANSWERS = ("--pipelines", "data_loading,calibration,quantization")
ANSWERS = "data/07_model_output/predictions.parquet"
LEDGER, LEDGER_HEAD = "data/06_models/audit_ledger.jsonl", "data/06_models/audit_ledger.head.json"


def assert_same_answers(small, expected):
    files = small.reproducible_files()
    assert files[ANSWERS] == expected[ANSWERS]
    # The candidate's look comes after the recipe's, which an interrupted run enters once.
    looks = files.pop(LEDGER)
    assert looks and expected[LEDGER].startswith(looks)
    assert len(looks.splitlines()) < len(expected[LEDGER].splitlines())
    files.pop(LEDGER_HEAD)
    assert_same(files, {name: expected[name] for name in files})


def start_and_wait(small, trials):
    """Start the chain, and return the process once so many trials are stored."""
    process = small.start(*TO_THE_ANSWERS, start_new_session=True)
    deadline = time.monotonic() + 300
    while len(trial_files(small)) < trials:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


@pytest.mark.parametrize(
    "kind",
    ["serial", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("process", "dask"))],
)
def test_interrupted_and_then_killed_it_resumes_to_the_same_bytes(
    project, tmp_path, finished, kind
):
    small = SmallProject(project, tmp_path / kind)
    small.change("quantization", executor={"kind": kind})
    process = start_and_wait(small, trials=2)
    # A terminal sends Ctrl-C to the whole group, workers included.
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "the same command goes on from there" in output
    process = start_and_wait(small, trials=4)
    process.kill()
    process.communicate(timeout=60)
    survivors = {path: path.stat().st_mtime_ns for path in trial_files(small)}
    code, output = small.run(*TO_THE_ANSWERS)
    assert code == 0, output
    for path, written in survivors.items():
        assert path.stat().st_mtime_ns == written
    assert_same_answers(small, finished[2])


def asked(small, monkeypatch, *arguments):
    monkeypatch.chdir(small.root)
    return CliRunner().invoke(ptq, list(arguments))


def test_the_report_is_written_again_from_its_tables_and_in_japanese(finished, monkeypatch):
    small, *_ = finished
    written = (reporting(small) / "report.html").read_text("utf-8")
    result = asked(small, monkeypatch, "report", "-o", "again.html")
    assert result.exit_code == 0, result.output
    again = (small.root / "again.html").read_text("utf-8")
    head, _, tail = again.partition("<section")
    assert written.startswith(head), "the first screen is the same"
    assert "data:image/png;base64," in tail or load(small, "lost_images.json")["lost"] == []
    assert asked(small, monkeypatch, "report", "--language", "ja", "-o", "ja.html").exit_code == 0
    assert 'lang="ja"' in (small.root / "ja.html").read_text("utf-8")


def test_explain_says_why_a_group_loses(finished, monkeypatch):
    small, *_ = finished
    result = asked(small, monkeypatch, "explain", "class Sandal", "--layers", "3", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["group"] == "Sandal"
    errors = [layer["error_group"] for layer in found["layers"]]
    assert len(errors) == 3 and errors == sorted(errors, reverse=True) and min(errors) > 0
    assert 0 <= found["calibration_images_of_group"] <= found["calibration_images"] == 64
    assert len(found["nearest_calibration_images"]) == 5
    text = asked(small, monkeypatch, "explain", "tone=dark")
    assert text.stdout.startswith("tone=dark: ")
    wrong = asked(small, monkeypatch, "explain", "class Hat")
    assert wrong.exit_code == 1
    assert "there is no group 'Hat'; the groups are T-shirt/top, Trouser" in wrong.stderr


def check_schema(verdict):
    folder = resources.files("ptq_pipeline.reporting").joinpath("schemas")
    schema = json.loads(folder.joinpath("verdict.schema.json").read_text("utf-8"))
    jsonschema.validate(verdict, schema)


def test_the_verdict_keeps_the_published_schema(finished):
    check_schema(load(finished[0], "verdict.json"))


def chain_with(stage):
    """The chain with a stage in the place of `quantization`, as the page on speed gives it."""
    page = (Path(__file__).parents[1] / "docs/speed.md").read_text()
    return re.search(rf"--pipelines (data_loading,calibration,{stage}\S*)", page)[1]


SAMPLED = ("--params", "worst_case_check.evaluation=sampled")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (("--env", "quick"), "data/quick"),
        (("--env", "passing"), "data/passing"),
        (("--pipelines", chain_with("until_refused")), "data"),
        (("--pipelines", chain_with("sampled"), *SAMPLED), "data"),
    ],
    ids=["quick", "passing", "until_refused", "sampled"],
)
def test_other_ways_through_the_chain_end_in_a_verdict(
    project, tmp_path, monkeypatch, request, arguments, folder
):
    small = SmallProject(project, tmp_path / "other")
    if "--env" in arguments:
        # What an environment changes, it changes in the shipped parameters, not in those of this
        # small project.
        for changed in (project / "conf" / arguments[1]).glob("parameters_*.yml"):
            shutil.copy(project / "conf/base" / changed.name, small.root / "conf/base")
    code, output = small.run(*arguments)
    assert code == 0, output
    verdict = json.loads((small.root / folder / "08_reporting/verdict.json").read_text())
    check_schema(verdict)
    assert verdict["recipe"]["draws"] > 0
    assert bool(verdict["representatives"]) == ("quick" in arguments)
    assert (small.root / folder / "08_reporting/report.html").is_file()
    assert_locked(small.root / folder, request.node.callspec.id)
    if "--env" in arguments:
        planned = asked(small, monkeypatch, "plan", *arguments, "--no-measurement")
        assert planned.exit_code == 0, planned.output


def test_a_plan_is_made_of_a_real_project(finished, monkeypatch):
    small, *_ = finished
    result = asked(small, monkeypatch, "plan", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)
    text = asked(small, monkeypatch, "plan", "--no-measurement")
    assert text.exit_code == 0 and "4" in text.stdout


def test_a_study_reads_the_answers_of_a_run(finished, project):
    small, *_ = finished
    done = subprocess.run(
        [sys.executable, project / "benchmarks/changed_answers.py", small.root / "data"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for shift in {cell["shift"] for cell in load(small, "verdict.json")["candidate"]["cells"]}:
        assert f"{shift}: " in done.stdout
