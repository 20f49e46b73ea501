"""What cannot be meant ends in one sentence before any work, by the commands that people call."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from ptq_pipeline.commands.doctor import doctor
from ptq_pipeline.commands.plan import plan
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.grouping import SubgroupScoringParameters
from ptq_pipeline.core.seals import Seal, digest, write_seal
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.pipelines import settling, until_refused
from ptq_pipeline.pipelines.subgroup_scoring.nodes import define_groups
from ptq_pipeline.pipelines.worst_case_check.nodes import check_names
from ptq_pipeline.stress.shifts import StressParameters

CLASSES = ["boot", "bag"]
BUSINESS = {"requests_per_month": 1000, "prices": {"float_model": 2.0, "integer_model": 1.0}}
SHIFT = """
def relabel():
    return lambda images, keys: (images, keys)
"""


@pytest.fixture
def loaded(small):
    """A project after data_loading: two classes, one segment, 1,200 audit images."""
    splits = np.repeat(["pool", "reference", "selection", "audit"], [300, 300, 200, 1200])
    position = np.arange(len(splits))
    samples = pd.DataFrame({"sample_id": position, "split": splits, "label": position % 2})
    samples["content_hash"] = [f"{each:064x}" for each in position]
    samples["tone"] = np.where(position % 4 < 2, "dark", "light")
    folder = small / "data/03_primary"
    folder.mkdir(parents=True)
    samples.to_parquet(folder / "samples.parquet")
    definitions = {"classes": CLASSES, "segments": {"tone": {"names": ["dark", "light"]}}}
    (folder / "group_definitions.json").write_text(json.dumps(definitions))
    features = small / "data/04_feature"
    features.mkdir(parents=True)
    profiles = samples[["sample_id"]].assign(predicted=samples["label"])
    profiles.to_parquet(features / "profiles.parquet")
    np.save(folder / "images.npy", np.zeros((len(splits), 1, 8, 8), np.uint8))
    return small


def change(project, group, values):
    path = project / f"conf/base/parameters_{group}.yml"
    content = yaml.safe_load(path.read_text())
    content[group].update(values)
    path.write_text(yaml.safe_dump(content))


def limits(**changes):
    same = {"points": 10.0, "shifts": {}}
    return {
        "limits": dict.fromkeys(("average", "class", "segment", "intersection"), same) | changes
    }


POLICY, LIMIT_20 = "worst_case_check", {"points": 20.0, "shifts": {}}
CRITICAL = {"level": "class", "group": "shoe"}
ERRORS = [
    (
        *(POLICY, limits(average=LIMIT_20)),
        "worst_case_check: limits contradict each other: the average may lose 20 points, but no "
        "class more than 10; the average cannot lose more than every class (in conf/ or --params)",
    ),
    (
        *(POLICY, limits() | {"critical": [CRITICAL]}),
        "worst_case_check.critical: there is no class 'shoe'; the groups of that level are 'boot', "
        "'bag'.",
    ),
    (
        *(POLICY, limits(segment={"points": 9, "shifts": {"fog": 12}})),
        "worst_case_check: limits name unknown shift 'fog'; the shifts are 'clean', "
        "'gaussian_noise', 'image_size'.",
    ),
    (
        *(POLICY, limits() | {"draws": 0}),
        "worst_case_check.draws: should be greater than or equal to 1, but is 0 (in conf/ or "
        "--params)",
    ),
    (
        *("calibration", {"draws": 0}),
        "calibration.draws: should be greater than or equal to 1, but is 0 (in conf/ or --params)",
    ),
    (
        *("quantization", {"runtime": {"name": "openvino", "thread": 2}}),
        "quantization.runtime.thread: is no setting; did you mean 'threads'? (in conf/ or "
        "--params)",
    ),
    (
        *(POLICY, limits() | {"class_priors": {"holiday": {"boot": 1}}}),
        "worst_case_check.class_priors: class 'bag' has no weight; give every class one.",
    ),
    (
        *(POLICY, limits() | {"class_priors": {"holiday": {"boot": 1, "bag": -2}}}),
        "worst_case_check.class_priors: the weight of 'bag' is -2.0; weights are numbers of at "
        "least 0, and one is larger.",
    ),
    (
        *("business", BUSINESS | {"error_cost": {"boot": -1.0}}),
        "business: error_cost of 'boot' must not be negative, got -1.0 (in conf/ or --params)",
    ),
    (
        *("business", BUSINESS | {"error_cost": {"boot": 1.0}}),
        "business.error_cost: the cost of an error is missing for bag; give it, or "
        "'default_error_cost'",
    ),
]


@pytest.mark.parametrize(("group", "values", "sentence"), ERRORS)
def test_a_plan_refuses_in_one_sentence(loaded, group, values, sentence):
    change(loaded, POLICY, limits())
    change(loaded, group, values)
    result = CliRunner().invoke(plan, ["--no-measurement"])
    assert (result.exit_code, result.stderr) == (1, f"error: {sentence}\n")


def test_a_plan_refuses_an_edited_ledger(loaded):
    change(loaded, POLICY, limits())
    ledger = loaded / "data/06_models/audit_ledger.jsonl"
    ledger.write_text('{"audit": "a"}\n')
    result = CliRunner().invoke(plan, ["--no-measurement"])
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1
    assert f"{ledger}', line 1: no entry of the audit ledger" in result.stderr
    assert "restore the file from version control" in result.stderr


def test_a_plan_names_limits_that_no_group_can_show(loaded):
    change(
        loaded, POLICY, limits(average={"points": 0.4, "shifts": {}}, **{"class": {"points": 0.4}})
    )
    result = CliRunner().invoke(plan, ["--no-measurement"])
    assert result.exit_code == 0, result.stderr
    assert (
        "A level that cannot be judged: class boot comes nearest, with 600 of the 774 samples that "
        "its limit of 0.4 points needs; they could show 0.5 points." in result.stdout
    )


def test_a_plan_refuses_a_float_model_at_chance(loaded):
    change(loaded, POLICY, limits())
    profiles = pd.read_parquet(loaded / "data/04_feature/profiles.parquet")
    profiles["predicted"] = profiles["sample_id"] // 2 % 2
    profiles.to_parquet(loaded / "data/04_feature/profiles.parquet")
    result = CliRunner().invoke(plan, ["--no-measurement"])
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1
    assert "the float model is right on 50.0 % of the 1,200 audit images" in result.stderr
    examined = CliRunner().invoke(doctor, ["--json"])
    (finding,) = [each for each in json.loads(examined.stdout) if each["topic"] == "groups"]
    assert finding["status"] == "fail" and "right on 50.0 %" in finding["text"]


def test_plan_and_doctor_name_classes_that_cannot_be_judged(loaded):
    change(loaded, POLICY, limits(**{"class": {"points": 0.4}}, average={"points": 0.4}))
    planned = CliRunner().invoke(plan, ["--no-measurement"]).stdout
    assert "No PASS: class boot has 600 images and needs 774 for 0.4 points" in planned
    change(loaded, POLICY, {"allow_not_judged": [{"level": "class", "group": "boot"}]})
    planned = CliRunner().invoke(plan, ["--no-measurement"]).stdout
    assert "Not judged, and policy allows it: class boot (n=600, needs 774)" in planned
    examined = CliRunner().invoke(doctor, ["--json"])
    found = [each for each in json.loads(examined.stdout) if each["topic"] == "groups"]
    assert [each["status"] for each in found] == ["warn", "warn"]
    assert "class boot has 600 audit images and needs 774" in found[0]["text"]
    assert found[0]["text"].endswith("which policy allows")


def kedro_run(project, *options, path=()):
    places = [*map(str, path), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "kedro", "run", *options],
        cwd=project,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, (done.stdout + done.stderr).rstrip().splitlines()[-1]


def test_a_run_ends_with_the_sentence_before_any_node(loaded):
    change(loaded, "calibration", {"draws": 0})
    code, last = kedro_run(loaded)
    assert code == 1
    assert last == "Error: " + ERRORS[4][2]
    assert not (loaded / "data/05_model_input").exists()


def test_a_run_refuses_a_group_of_parameters_that_nobody_reads(loaded):
    code, last = kedro_run(loaded, "--params", "calibrations.draws=5")
    assert code == 1
    assert "Error: unknown parameter group(s) calibrations in conf/ or --params" in last


def files(root, folder):
    return [path for path in (root / "data" / folder).glob("*") if path.is_file()]


def test_a_run_refuses_a_shift_that_changes_labels(loaded, tmp_path):
    """A shift of an installed package, found by its entry point."""
    package = tmp_path / "package"
    (package / "relabel-1.0.dist-info").mkdir(parents=True)
    (package / "relabel.py").write_text(SHIFT)
    (package / "relabel-1.0.dist-info/METADATA").write_text("Name: relabel\nVersion: 1.0\n")
    entry = "[ptq_pipeline.shifts]\nrelabel = relabel:relabel\n"
    (package / "relabel-1.0.dist-info/entry_points.txt").write_text(entry)
    change(loaded, "stress", {"relabel": {}})
    written = [path for folder in ("03_primary", "04_feature") for path in files(loaded, folder)]
    for path in written:
        write_seal(path, Seal(content=digest(path), node="by hand", parameters={}, inputs={}))
    code, last = kedro_run(loaded, "--nodes", "stress_images", path=[package])
    assert code == 1
    assert last.endswith(
        "Error: shift 'relabel' returned a tuple instead of images; a shift may not change "
        "labels, it returns the images only"
    )


def test_a_stage_refuses_a_policy_that_names_an_unknown_group(loaded):
    samples = pd.read_parquet(loaded / "data/03_primary/samples.parquet")
    definitions = GroupDefinitions(
        classes=tuple(CLASSES), segments={"tone": {"names": ["dark", "light"]}}
    )
    groups = define_groups(samples, definitions, SubgroupScoringParameters())
    policy = Policy.model_validate(limits() | {"critical": [CRITICAL]})
    with pytest.raises(InputError, match="critical: there is no class 'shoe'"):
        check_names(groups, policy, StressParameters({"clean": {}}))
    # Before the draws are looked at, and before the first trial.
    for study in (settling, until_refused):
        assert "checked_policy" in study.create_pipeline().only_nodes("plan_scope").inputs()
        # Other prices decide nothing about trials, so they make none of them stale.
        assert "params:business" not in study.create_pipeline().inputs()
