import json
import os
from dataclasses import replace

import pandas as pd
import pytest
from click.testing import CliRunner
from tests.project import SmallProject

from ptq_pipeline.commands.store import store, used_trials
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.project import opened
from ptq_pipeline.ptq import MethodSpec
from ptq_pipeline.trials.trial import TrialSpec, TrialStore

OF_FLOAT = TrialSpec("m", None, None, "e", {"clean": {}}, {"name": "openvino"}, "3")
SPECS = [
    replace(OF_FLOAT, method=MethodSpec(), calibration_set=f"s{n}", statistics="g", repeat=n)
    for n in range(4)
]


@pytest.fixture
def small(project, tmp_path, monkeypatch):
    found = SmallProject(project, tmp_path / "small")
    monkeypatch.chdir(found.root)
    return found


def write(root):
    """Store four trials and the float model's, old ones; what refers to three of them."""
    trials = TrialStore(root / "data/07_model_output/trials")
    for spec in (OF_FLOAT, *SPECS):
        trials.put(spec, {"clean": [1, 2]})
        os.utime(trials.path(spec), (0, 0))
    # A table of one environment, a verdict of another one.
    table = pd.DataFrame({"trial_id": [SPECS[0].trial_id], "spec": json.dumps(SPECS[0].to_json())})
    (root / "data/07_model_output").mkdir(parents=True, exist_ok=True)
    table.to_parquet(root / "data/07_model_output/trials.parquet")
    pd.DataFrame({"row": [0]}).to_parquet(root / "data/07_model_output/resnet20_trials.parquet")
    verdict = root / "data/quick/08_reporting/verdict.json"
    verdict.parent.mkdir(parents=True)
    verdict.write_text(json.dumps({"candidate": {"cells": [{"trial_id": SPECS[1].trial_id}]}}))
    return trials


def test_what_nothing_refers_to_is_measured_and_removed_when_it_is_old(small):
    trials = write(small.root)
    os.utime(trials.path(SPECS[2]))
    ran = CliRunner().invoke(store, ["--json"])
    assert ran.exit_code == 0, ran.output
    answer = json.loads(ran.stdout)
    assert (answer["trials"]["files"], answer["trials"]["unused_files"]) == (5, 1)
    assert answer["removed"] is False and trials.get(SPECS[3])
    ran = CliRunner().invoke(store, ["--clean"])
    assert "removed: 1 files" in ran.output
    assert [trials.get(spec) is not None for spec in (OF_FLOAT, *SPECS)] == [True] * 4 + [False]
    assert "removed: 1 files" in CliRunner().invoke(store, ["--clean", "--unused-for", "0"]).output
    assert trials.get(SPECS[2]) is None


def test_nothing_is_unused_while_a_reference_cannot_be_read(small):
    write(small.root)
    (small.root / "data/quick/08_reporting/verdict.json").write_text("{")
    with opened(None, None) as project, pytest.raises(InputError, match="may refer to trials and"):
        used_trials(project)
