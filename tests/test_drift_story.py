"""The story of docs/watch.md, played with the commands that anyone would use."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from tests.project import drift_story

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def played(project, tmp_path_factory):
    """Play the story once; return it and what each command said."""
    module = drift_story(project)
    sizes = module.Sizes(pool=900, reference=600, selection=300, audit=1_800, calm=500)
    story = module.Story(tmp_path_factory.mktemp("story") / "shop", sizes)
    story.build()
    for command in (
        *(["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"], ["git", "add", "-A"]),
        ["git", "-c", "user.name=Jo", "-c", "user.email=jo@example.com", "commit", "-qm", "shop"],
    ):
        subprocess.run(command, cwd=story.root, check=True, capture_output=True)
    code, output = story.call("run")
    assert code == 0, output
    said = {"promote": story.report("promote", "--by", "Jo")}
    story.deliver_calm("2027-01-01")
    said["calm"] = story.report("watch", "--once")
    said["nothing new"] = story.report("watch", "--once")
    story.deliver_drifted("2027-01-02")
    said["dry run"] = story.report("watch", "--once", "--dry-run")
    said["drift"] = story.report("watch", "--once")
    said["status"] = story.report("status")
    said["verify"] = story.report("verify")
    said["again"] = story.report("watch", "--once")
    said["rollback"] = story.report("rollback", "--to", "v0001", "--reason", "to see that it works")
    said["verify again"] = story.report("verify")
    said["history"] = story.report("history")
    return story, said


def champion(story):
    path = story.root / "data/06_models/registry/champion.json"
    return json.loads(path.read_text())["version"]


def test_a_passing_audit_makes_a_champion(played):
    code, record = played[1]["promote"]
    assert code == 0
    assert record["content"]["version"] == "v0001"


def test_with_a_calm_window_nothing_happens(played):
    code, report = played[1]["calm"]
    assert (code, report["action"], report["champion"]) == (0, "nothing", "v0001")
    assert [each["drifted"] for each in report["windows"]] == [False]
    assert played[1]["nothing new"][1]["windows"] == []


def test_a_dry_run_advises_and_remembers_nothing(played):
    code, report = played[1]["dry run"]
    assert (code, report["action"], report["champion"]) == (10, "reaudit", "v0001")


def test_drift_fires_the_champion_fails_and_a_candidate_is_promoted(played):
    story, said = played
    code, report = said["drift"]
    assert (code, report["action"], report["champion"]) == (0, "promoted", "v0002")
    assert report["ladder"][-1]["decision"] == "promote"
    name = f"data/08_reporting/monitoring/reaudit_{report['event']}.json"
    reaudit = json.loads((story.root / name).read_text())
    assert reaudit["result"] == "FAILS"
    verdict = json.loads((story.root / "data/08_reporting/requantization/verdict.json").read_text())
    shifts = {cell["shift"] for cell in verdict["candidate"]["cells"]}
    assert shifts == {"clean", "production"}


def test_the_float_model_survives_what_the_champion_does_not(played):
    """The claim of the story: the float model loses less than 5 points from home to there."""
    story, said = played
    samples = pd.read_parquet(story.root / "data/03_primary/samples.parquet")
    answers = pd.read_parquet(story.root / "data/07_model_output/float_predictions.parquet")
    joined = answers[answers["shift"] == "clean"].merge(samples, on="sample_id")
    at_home = (joined["predicted"] == joined["label"])[joined["split"] == "audit"].mean()
    name = f"data/08_reporting/monitoring/reaudit_{said['drift'][1]['event']}.json"
    reaudit = json.loads((story.root / name).read_text())
    assert at_home - reaudit["float_accuracy"] < 0.05
    broken = [cell for cell in reaudit["cells"] if cell["status"] == "shown_bad"]
    assert max(cell["drop"] - cell["limit"] for cell in broken) > 0.1


def test_clip_rates_rise_with_the_brighter_lamps(played):
    story, _ = played
    path = story.root / "data/08_reporting/monitoring/windows.json"
    calm, drifted = json.loads(path.read_text())["windows"][:2]
    assert drifted["clip_rates"]["clip_rate"] > 10 * calm["clip_rates"]["clip_rate"]
    assert "clip_rate" in drifted["drifted_columns"]


def test_rollback_brings_the_old_version_back_and_every_hash_holds(played):
    story, said = played
    assert said["again"][1]["action"] == "nothing"
    assert said["rollback"][0] == 0
    assert champion(story) == "v0001"
    whole = {"ok": True, "versions": ["v0001", "v0002"], "notes": []}
    assert said["verify"] == (0, whole)
    assert said["verify again"] == (0, whole)
    triggers = [record["content"].get("trigger", "") for record in said["history"][1]]
    assert triggers[1].startswith("drift:")


def test_calibration_sets_of_the_event_are_kept(played):
    story, said = played
    folder = story.root / "data/05_model_input/requantization" / said["drift"][1]["event"]
    assert len(list((folder / "calibration_sets").glob("*.json"))) >= 30
    samples = pd.read_parquet(folder / "samples.parquet")
    assert not samples["content_hash"].duplicated().any()


def test_they_wait_under_dvc_for_a_commit_that_only_people_make(played):
    story, said = played
    event = said["drift"][1]["event"]
    folder = f"data/05_model_input/requantization/{event}"
    waiting = [f"{folder}/.gitignore", f"{folder}/calibration_sets.dvc"]
    assert sorted(said["drift"][1]["dvc_files"]) == waiting
    assert sorted(said["status"][1]["uncommitted_dvc_files"]) == waiting
    log = subprocess.run(
        ["git", "log", "--format=%s"], cwd=story.root, check=True, capture_output=True, text=True
    )
    assert log.stdout == "shop\n"


@pytest.mark.parametrize("kind", ["unlabelled", "broken"])
def test_what_cannot_be_believed_or_judged_moves_nothing(played, kind):
    story, _ = played
    before = champion(story)
    if kind == "unlabelled":
        # The same drift fires no second event for the version that was rolled back to: calm windows
        # arm the watch again.
        for number, name in enumerate(("2027-01-03", "2027-01-04"), 1):
            story.deliver_calm(name, number)
        assert story.report("watch", "--once")[1]["action"] == "nothing"
        story.deliver_drifted("2027-01-05", labels=False)
        images = story.root / "data/01_raw/production/2027-01-05/images-idx3-ubyte.gz"
        module = sys.modules["drift_story"]
        noisy = module.read(images).astype(int) + np.arange(28) % 2
        module.write(images, np.clip(noisy, 0, 255).astype(np.uint8))
        code, report = story.report("watch", "--once")
        assert (code, report["action"]) == (10, "advised")
    else:
        folder = story.root / "data/01_raw/production"
        (folder / "2027-01-06").mkdir()
        shutil.copytree(folder / "2027-01-02", folder / "2027-01-07")
        story.deliver("2027-01-08", 1.0, 0, 400)
        path = folder / "2027-01-08/images-idx3-ubyte.gz"
        path.write_bytes(path.read_bytes()[:1000])
        code, report = story.report("watch", "--once")
        found = {each["window"]: each for each in report["windows"]}
        assert (code, report["action"]) == (12, "nothing")
        assert found["2027-01-06"]["status"] == "empty"
        assert found["2027-01-07"]["status"] == "repeated"
        assert "truncated" in found["2027-01-08"]["reason"]
    assert champion(story) == before
