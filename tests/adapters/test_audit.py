"""A whole audit of a recipe that another tool quantizes."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tests.project import SmallProject

TOOLS = {
    "onnxruntime_static": ("onnxruntime", "onnxruntime", {"model.onnx"}),
    "nncf": ("nncf", "openvino", {"model.xml", "model.bin"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TOOLS))
def test_the_tool_appears_in_trials_scores_and_verdict_like_any_method(
    name: str, project: Path, tmp_path: Path
) -> None:
    package, runtime, files = TOOLS[name]
    pytest.importorskip(package)
    small = SmallProject(project, tmp_path / "small")
    small.change("calibration", draws=3)
    recipe = {"method": {"name": name}, "runtime": {"name": runtime, "threads": 1}}
    path = small.root / "conf/base/parameters_quantization.yml"
    path.write_text(yaml.safe_dump({"quantization": recipe}))
    code, output = small.run()
    assert code == 0, output
    data = small.root / "data"
    trials = pd.read_parquet(data / "07_model_output/trials.parquet")
    evidence = trials[trials["role"] == "evidence"]
    assert (evidence["status"] == "done").all() and len(evidence) == 3
    spec = json.loads(evidence["spec"].iloc[0])
    assert spec["method"]["name"] == name and spec["method"]["tool_version"]
    scores = pd.read_parquet(data / "07_model_output/scores.parquet")
    assert set(evidence["trial_id"]) <= set(scores["trial_id"])
    reporting = data / "08_reporting"
    verdict = json.loads((reporting / "verdict.json").read_text())
    assert verdict["candidate"]["trial_id"] in set(evidence["trial_id"])
    execution = json.loads((reporting / "candidate_execution.json").read_text())
    assert execution["result"] == "PASS" and set(execution["files"]) == files
    # ONNX can be executed by torch as the standard defines it, OpenVINO's format by OpenVINO only.
    assert bool(execution["parity"]) == (package == "onnxruntime")
    speed = json.loads((reporting / "candidate_speed.json").read_text())
    assert speed["candidate"]["bytes"] < speed["float"]["bytes"] / 2
    assert name in (reporting / "report.html").read_text()
