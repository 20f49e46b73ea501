"""A detector goes through the whole chain: objects and false alarms in one verdict."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tests.project import SmallProject

CHECKOUT = Path(__file__).parents[1]
SCENES = {"pool": 150, "reference": 100, "selection": 60, "audit": 150}


def run(project, *arguments, expected=0):
    result = subprocess.run(
        [sys.executable, "-m", "kedro", "run", "--env", "detection", *arguments],
        cwd=project.root, env=project.environment() | {"DO_NOT_TRACK": "1"},
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert (result.returncode != 0) == (expected != 0), result.stdout + result.stderr
    return result.stdout + result.stderr


def change(project, name, edit):
    path = project.root / "conf/detection" / name
    content = yaml.safe_load(path.read_text())
    edit(content)
    path.write_text(yaml.safe_dump(content))


def make_small(catalog):
    # The small project has 1,500 test and 2,200 heldout images, of which some trained the detector.
    rows = {"pool": [0, 1100], "reference": [1100, 2200], "selection": [0, 500]}
    for part in catalog["image_source"]["parts"]:
        part["scenes"] = SCENES[part["split"]]
        part["rows"] = rows.get(part["split"], [500, 1500])


def few_draws(parameters):
    parameters["calibration"] |= {"draws": 2, "set_size": 48}
    parameters["worst_case_check"]["draws"] = 2


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    made = SmallProject(CHECKOUT, tmp_path_factory.mktemp("detection"))
    change(made, "catalog.yml", make_small)
    change(made, "parameters.yml", few_draws)
    return made


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_detector_ends_in_a_verdict_about_objects_and_alarms(project):
    run(project)
    reporting = project.root / "data/detection/08_reporting"
    verdict = json.loads((reporting / "verdict.json").read_text())
    cells = {(c["level"], c["group"], c["shift"]): c for c in verdict["candidate"]["cells"]}
    samples = pd.read_parquet(project.root / "data/detection/03_primary/samples.parquet")
    audit = samples[samples["split"] == "audit"]
    objects = [each for text in audit["objects"] for each in json.loads(text)]
    # Counts by an own way, from the samples alone.
    assert cells["average", "all", "clean"]["n"] == len(objects)
    coats = sum(each["label"] == 4 for each in objects)
    assert cells["class", "Coat", "clean"]["n"] == coats
    dim = sum(each["columns"]["light"] == "dim" for each in objects)
    assert cells["segment", "light=dim", "clean"]["n"] == dim
    assert cells["segment", "false_alarms=Coat", "clean"]["n"] == len(audit)
    execution = json.loads((reporting / "candidate_execution.json").read_text())
    assert execution["result"] == "PASS"
    assert {each["n"] for each in execution["answers"].values()} == {
        _units(samples[samples["split"].isin(["selection", "audit"])])
    }
    page = (reporting / "report.html").read_text()
    assert re.search(r"3 added\s+false alarms", page)
    assert "of 100 images of class" not in page
    figures = json.loads((reporting / "detector.json").read_text())
    coat = figures["classes"][4]
    assert (coat["name"], coat["n"]) == ("Coat", coats)
    clean = cells["class", "Coat", "clean"]
    assert coat["recall"] == pytest.approx(clean["quantized_accuracy"], abs=0.05)
    assert 0 < coat["ap"] < coat["ap50"] <= 1
    assert sum(each["n"] for each in figures["sizes"]) == len(objects)


def _units(samples):
    return sum(len(json.loads(text)) for text in samples["objects"]) + 10 * len(samples)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "edit", "said"),
    [
        (
            "catalog.yml",
            lambda c: c["float_model"]["detector"]["decoder"].update(strides=[16]),
            "the detector's output has shape",
        ),
        (
            "catalog.yml",
            lambda c: c["float_model"].pop("detector"),
            "the image source has annotated objects, and the float model is a classifier",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(project, name, edit, said):
    path = project.root / "conf/detection" / name
    before = path.read_text()
    try:
        change(project, name, edit)
        assert said in " ".join(run(project, expected=1).split())
    finally:
        path.write_text(before)
