"""A whole audit of a recipe that another tool quantizes."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tests.project import SmallProject

from ptq_pipeline.core.answers import every_answer

TOOLS = {
    "onnxruntime_static": ("onnxruntime", "onnxruntime", {"model.onnx"}),
    "nncf": ("nncf", "openvino", {"model.xml", "model.bin"}),
}


def three_draws(project: Path, folder: Path, recipe: dict) -> SmallProject:
    """A small project that audits three draws of a recipe."""
    small = SmallProject(project, folder)
    small.change("calibration", draws=3)
    path = small.root / "conf/base/parameters_quantization.yml"
    path.write_text(yaml.safe_dump({"quantization": recipe}))
    return small


def done_trials(small: SmallProject) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All trials and those of the evidence; each was done."""
    trials = pd.read_parquet(small.root / "data/07_model_output/trials.parquet")
    evidence = trials[trials["role"] == "evidence"]
    assert (evidence["status"] == "done").all() and len(evidence) == 3
    return trials, evidence


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TOOLS))
def test_the_tool_appears_in_trials_scores_and_verdict_like_any_method(
    name: str, project: Path, tmp_path: Path
) -> None:
    package, runtime, files = TOOLS[name]
    pytest.importorskip(package)
    recipe = {"method": {"name": name}, "runtime": {"name": runtime, "threads": 1}}
    small = three_draws(project, tmp_path / "small", recipe)
    code, output = small.run()
    assert code == 0, output
    data, (_, evidence) = small.root / "data", done_trials(small)
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


SHIM = """
import pathlib, runpy, sys
starts = pathlib.Path("starts")
with starts.open("a") as log:
    log.write(sys.argv[0] + "\\n")
if starts.read_text().count("device.py") == UNPLUGGED_AT:
    sys.exit("unplugged")
sys.argv[0] = SCRIPT
runpy.run_path(SCRIPT, run_name="__main__")
"""


@pytest.mark.slow
def test_a_device_that_is_unplugged_halfway_costs_no_draw_and_no_second_look(
    project: Path, tmp_path: Path
) -> None:
    """A vendor's quantizer and a device, each a command: store, resume and ledger as ever."""
    pytest.importorskip("onnxruntime")
    method = {
        "name": "external", "tool": "vendor 1.2", "writes": "blob",
        "command": f"{sys.executable} quantize.py {{model}} {{calibration}} {{output}}",
    }  # fmt: skip
    runtime = {
        "name": "external", "tool": "phone 1",
        "command": f"{sys.executable} device.py {{model}} {{images}} {{output}}",
    }  # fmt: skip
    small = three_draws(project, tmp_path / "small", {"method": method, "runtime": runtime})
    # Once in the readiness check, then under each shift of a trial.
    for name, script, unplugged in (("quantize", "onnxruntime", -1), ("device", "device", 6)):
        path = project / f"scripts/external_{script}.py"
        code = SHIM.replace("SCRIPT", repr(str(path))).replace("UNPLUGGED_AT", str(unplugged))
        (small.root / f"{name}.py").write_text(code)

    code, output = small.run()
    assert code == 1, output
    assert "runtime external:" in output and "ended with 1: unplugged" in output
    assert "Traceback" not in output
    before = (small.root / "starts").read_text().count("quantize.py")
    code, output = small.run()
    assert code == 0, output

    data = small.root / "data"
    trials, evidence = done_trials(small)
    assert (trials["status"] == "done").all()
    # The trial in the middle of which it was unplugged is quantized again, and no other.
    starts = (small.root / "starts").read_text().count("quantize.py")
    assert before == 3 and starts == 1 + len(trials) + 1 + 1, (before, starts)
    # Entered before the trials, and once more with the policy that judged them.
    ledger = (data / "06_models/audit_ledger.jsonl").read_text().splitlines()
    questions = [json.loads(line)["question"] for line in ledger]
    assert len(questions) == 2 and questions[0] == questions[1]
    assert questions[0]["runtime"] == "external phone 1"
    reporting = data / "08_reporting"
    execution = json.loads((reporting / "candidate_execution.json").read_text())
    assert execution["result"] == "PASS" and execution["files"] == ["model.blob"]
    verdict = json.loads((reporting / "verdict.json").read_text())
    predictions = pd.read_parquet(data / "07_model_output/predictions.parquet")
    reference = pd.read_parquet(data / "07_model_output/float_predictions.parquet")
    samples = pd.read_parquet(data / "03_primary/samples.parquet").set_index("sample_id")
    predictions = every_answer(predictions, reference)
    chosen = predictions["trial_id"] == verdict["candidate"]["trial_id"]
    joined = reference.merge(predictions[chosen], on=["shift", "sample_id"], suffixes=("", "_q"))
    joined = joined[joined["sample_id"].map(samples["split"]) == "audit"]
    label = joined["sample_id"].map(samples["label"])
    lost = joined[(joined["predicted"] == label) & (joined["predicted_q"] != label)]
    cells = [each for each in verdict["candidate"]["cells"] if each["level"] == "average"]
    assert {each["shift"]: each["lost"] for each in cells} == dict(
        lost.groupby("shift").size().reindex([each["shift"] for each in cells], fill_value=0)
    )
