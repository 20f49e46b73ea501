"""From anything of an audit to the exact images, in a project with real files."""

import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from tests.commands.test_registry import decided, run, run_json
from tests.project import configured
from tests.registry.conftest import candidate, release, terms
from tests.verdicts import make_verdict

from ptq_pipeline.calibration.sets import (
    CalibrationManifest,
    CalibrationSet,
    array_sha256,
    load_set,
    save_sets,
)
from ptq_pipeline.commands import ptq
from ptq_pipeline.commands.lineage import find_set
from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.project import opened
from ptq_pipeline.registry.agreement import Registry
from ptq_pipeline.registry.evidence import Evidence
from ptq_pipeline.registry.store import baseline_bytes

CLASSES = ["boot", "bag"]


def make_set(ids, draw=0, brighter=0, augmentation=None):
    pixels = np.stack([np.full((1, 8, 8), 20 + 5 * i + brighter, np.uint8) for i in ids])
    manifest = CalibrationManifest(
        strategy="random",
        options={},
        seed=draw,
        draw=draw,
        size=len(ids),
        pool_size=40,
        augmentation=augmentation or {},
        sample_ids=tuple(ids),
        content_hashes=tuple(content_hash(i) for i in ids),
        array_sha256=array_sha256(pixels),
        shape=pixels.shape,
    )
    return CalibrationSet(manifest, pixels)


def content_hash(sample):
    return hashlib.sha256(str(sample).encode()).hexdigest()


@pytest.fixture
def small(tmp_path, project, monkeypatch):
    """A project with two calibration sets, one trial of the first, and its release as v0001."""
    configured(project, tmp_path)
    data = tmp_path / "data"
    for folder in ("03_primary", "06_models", "07_model_output"):
        (data / folder).mkdir(parents=True)
    (data / "06_models/champion_baseline.json").write_bytes(baseline_bytes())
    first, second = make_set(range(8)), make_set(range(4, 12), 1, 30, {"kind": "brighter"})
    save_sets({s.set_id: s for s in (first, second)}, data / "05_model_input/calibration_sets")
    ids = range(12)
    pd.DataFrame(
        {
            "sample_id": ids,
            "content_hash": [content_hash(i) for i in ids],
            "split": "pool",
            "label": [i % 2 for i in ids],
            "tone": ["dark" if i < 6 else "light" for i in ids],
        }
    ).to_parquet(data / "03_primary/samples.parquet")
    definitions = {"classes": CLASSES, "segments": {}}
    (data / "03_primary/group_definitions.json").write_text(json.dumps(definitions))
    decision, files = candidate("0123456789abcdef")
    files["calibration.json"] = json.dumps(
        {"set_id": first.set_id, **first.manifest.to_json()}
    ).encode()
    verdict = json.loads(files["verdict.json"])
    verdict["candidate"]["set_id"] = first.set_id
    files["verdict.json"] = json.dumps(verdict).encode()
    decision = Evidence.of_files(files).decide("base")
    decided(tmp_path, decision, files)
    (data / "08_reporting/verdict.json").write_text(json.dumps(verdict))
    pd.DataFrame({"trial_id": ["0123456789abcdef"], "set_id": [first.set_id]}).to_parquet(
        data / "07_model_output/trials.parquet"
    )
    registry = Registry(data / "06_models/registry", data / "06_models/champion_baseline.json")
    record = release(registry, decision, files, terms())
    monkeypatch.chdir(tmp_path)
    return tmp_path, first, second, decision, canonical_hash(verdict), record


def test_everything_leads_to_the_exact_images(small):
    root, first, _, decision, verdict_hash, record = small
    candidate_folder = "data/06_models/candidate"
    references = (
        first.set_id,
        first.set_id[:8],
        "0123456789abcdef",
        verdict_hash[:12],
        decision.hash,
        record.hash[:10],
        "v0001",
        candidate_folder,
        f"{candidate_folder}/model.bin",
        f"{candidate_folder}/calibration.json",
        "data/06_models/registry/versions/v0001",
        "data/06_models/registry/versions/v0001/record.json",
        "data/08_reporting/decision.json",
        "data/08_reporting/verdict.json",
        f"data/05_model_input/calibration_sets/{first.set_id}.npy",
    )
    with opened() as project:
        for reference in references:
            found = find_set(project, reference)
            assert found.manifest == first.manifest, reference
            assert found.steps[-1] == f"calibration set {first.set_id}", reference
    code, content = run_json("calibration", "show", references[-1])
    assert (code, content["set_id"]) == (0, first.set_id)
    assert content["lineage"][-1] == f"calibration set {first.set_id}"
    assert [image["sample_id"] for image in content["images"]] == list(range(8))
    assert [image["content_hash"] for image in content["images"]] == [
        content_hash(i) for i in range(8)
    ]
    assert content["warnings"] == []
    assert content["composition"] == {
        "label": {"bag": 4, "boot": 4},
        "tone": {"dark": 6, "light": 2},
    }
    pixels = root / content["pixels"]
    assert content["pixels_md5"] == hashlib.md5(pixels.read_bytes()).hexdigest()
    text = run("calibration", "show", "v0001").stdout
    assert f"version v0001 -> file calibration.json -> calibration set {first.set_id}" in text
    assert "8 of 40 images, strategy random" in text


def test_trials_and_verdicts_of_a_requantization_lead_to_its_sets(small):
    root, *_ = small
    own = make_set(range(2, 10), 3, 60)
    event = root / "data/05_model_input/requantization/event1/calibration_sets"
    save_sets({own.set_id: own}, event)
    folder = root / "data/07_model_output/requantization"
    folder.mkdir()
    trials = pd.DataFrame({"trial_id": ["feedfeedfeedfeed"], "set_id": [own.set_id]})
    trials.to_parquet(folder / "trials.parquet")
    verdict = make_verdict(trial_id="feedfeedfeedfeed", set_id=own.set_id)
    (root / "data/08_reporting/requantization").mkdir()
    path = root / "data/08_reporting/requantization/verdict.json"
    path.write_text(json.dumps(verdict.to_json()))
    for reference in ("feedfeed", verdict.hash[:12], own.set_id):
        code, content = run_json("calibration", "show", reference)
        assert (code, content["set_id"]) == (0, own.set_id)
        assert content["pixels"].startswith("data/05_model_input/requantization/event1/")


def test_a_version_keeps_its_lineage_when_the_sets_are_gone(small):
    root, first, *_ = small
    shutil.rmtree(root / "data/05_model_input/calibration_sets")
    (root / "data/03_primary/samples.parquet").unlink()
    code, content = run_json("calibration", "show", "v0001")
    assert (code, content["pixels"], len(content["images"])) == (0, None, 8)
    assert "labels and segments are not known" in content["warnings"][0]
    missing = run("calibration", "show", "0123456789abcdef")
    assert missing.exit_code == 1
    assert "dvc pull" in missing.stderr


def test_a_version_whose_manifest_was_changed_is_refused_although_the_set_is_here(small):
    root, first, *_ = small
    path = root / "data/06_models/registry/versions/v0001/calibration.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": 99, "set_id": first.set_id}))
    result = CliRunner().invoke(ptq, ["calibration", "show", "v0001"])
    assert result.exit_code == 1
    assert "version v0001" in result.stderr
    assert "the manifest there was changed: its hash is" in result.stderr
    assert first.set_id in result.stderr


def test_diff_says_how_sets_differ(small):
    _, first, second, *_ = small
    code, content = run_json("calibration", "diff", first.set_id, second.set_id)
    assert (code, content["identical"], content["shared_images"]) == (0, False, 4)
    assert content["manifest"]["draw"] == [0, 1]
    assert content["manifest"]["augmentation"] == [{}, {"kind": "brighter"}]
    assert content["composition"]["tone"] == {"dark": [6, 2], "light": [2, 6]}
    brightness = content["features"]["brightness"]
    assert brightness["second"] - brightness["first"] == pytest.approx((30 + 20) / 255)
    assert brightness["distance"] > 1
    same = run("calibration", "diff", "v0001", first.set_id)
    assert same.stdout.strip().endswith("identical")
    assert "brightness: mean" in run("calibration", "diff", "v0001", second.set_id).stdout


def test_what_cannot_be_found_is_said_in_one_sentence(small):
    root, first, *_ = small
    for reference, message in (
        ("deadbeef", "nothing in this project goes by 'deadbeef'"),
        ("v0099", "no version v0099"),
        ("what?", "is none of these: a set id"),
        ("conf", "holds no calibration.json"),
        ("data/03_primary/group_definitions.json", "names no calibration set"),
        ("pyproject.toml", "leads to no calibration set"),
    ):
        result = CliRunner().invoke(ptq, ["calibration", "show", reference])
        assert result.exit_code == 1
        assert message in result.stderr
    manifest = root / f"data/05_model_input/calibration_sets/{first.set_id}.json"
    edited = json.loads(manifest.read_text()) | {"seed": 99}
    manifest.write_text(json.dumps(edited))
    result = run("calibration", "show", first.set_id)
    assert "was changed: its hash is" in result.stderr
    with pytest.raises(ValueError, match="was changed"):
        load_set(manifest.parent, first.set_id)
