import json

import numpy as np
import pytest
from kedro.io import DatasetError

from ptq_pipeline.datasets import BaselineDataset
from ptq_pipeline.judgement.baseline import Baseline


def test_what_serves_is_read_and_never_saved_by_a_run(tmp_path):
    path = tmp_path / "champion_baseline.json"
    dataset = BaselineDataset(str(path))
    assert not dataset.load().serves
    served = Baseline(trial_id="t", answers={"clean": np.arange(5)}).served_as("v0001", "ab")
    path.write_text(json.dumps(served.to_json()))
    assert dataset.load().version == "v0001"
    with pytest.raises(DatasetError, match="rewritten by a release only"):
        dataset.save({})


def test_a_file_of_an_earlier_release_says_how_it_is_taken_over(tmp_path):
    path = tmp_path / "champion_baseline.json"
    content = Baseline(trial_id="t", answers={"clean": np.arange(5)}).to_json()
    del content["log"], content["baseline_hash"]
    path.write_text(json.dumps(content | {"schema_version": 1}))
    with pytest.raises(DatasetError, match="earlier release .* `kedro ptq recover`"):
        BaselineDataset(str(path)).load()


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"schema_version": 1}'])
def test_a_damaged_file_is_named_with_the_way_out(tmp_path, content):
    path = tmp_path / "champion_baseline.json"
    path.write_text(content)
    with pytest.raises(DatasetError, match=r"champion_baseline\.json' .*restore it from git"):
        BaselineDataset(str(path)).load()


@pytest.mark.parametrize(("largest", "kind"), [(255, "uint8"), (256, "<u2"), (69_999, "<u4")])
def test_answers_of_any_number_of_classes_come_back(largest, kind):
    answers = np.array([0, 1, largest])
    content = Baseline(trial_id="t", answers={"clean": answers}).to_json()
    assert content["answers"]["clean"]["dtype"] == kind
    assert np.array_equal(Baseline.read(content).answers["clean"], answers)
