"""DVC on a small project of its own: what is reproduced, what runs again, what is left alone."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.project import SmallProject

from ptq_pipeline.mounting import DEFAULT

pytestmark = pytest.mark.slow

STATE = ("data/06_models/registry", "data/07_model_output/trials")
AUTHOR = ("-c", "user.name=Test", "-c", "user.email=test@example.com")


class DvcProject:
    """A small project with its own code, in git and DVC."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def build(cls, checkout: Path, root: Path) -> "DvcProject":
        small = SmallProject(checkout, root)
        shutil.copytree(
            checkout / "src/ptq_pipeline",
            root / "src/ptq_pipeline",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
            shutil.copy(checkout / name, root)
        shutil.copy(checkout / "data/06_models/champion_baseline.json", root / "data/06_models")
        (root / "conf/local/.gitkeep").touch()
        small.change("worst_case_check", draws=4)
        project = cls(root)
        project.run("git", "init", "-q", "-b", "main")
        project.run(sys.executable, "-m", "dvc", "init", "-q")
        shutil.copy(checkout / ".dvc/config", root / ".dvc/config")
        project.commit("start")
        return project

    def run(self, *command: str, code: int | None = 0) -> str:
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        found = subprocess.run(
            command,
            cwd=self.root,
            env=kept
            | {
                "PYTHONPATH": str(self.root / "src"),
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "DO_NOT_TRACK": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        output = found.stdout + found.stderr
        assert code is None or found.returncode == code, f"{command}: {found.returncode}\n{output}"
        return output

    def dvc(self, *arguments: str, code: int | None = 0) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, code=code)

    def ptq(self, *arguments: str, code: int | None = 0) -> str:
        return self.run("kedro", "ptq", *arguments, code=code)

    def repro(self, *arguments: str) -> list[str]:
        """Run `dvc repro` and return the stages that ran."""
        return re.findall(r"Running stage '(\w+)'", self.dvc("repro", *arguments))

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", *AUTHOR, "commit", "-q", "-m", message)

    def change(self, group: str, **values: object) -> None:
        SmallProject.change(self, group, **values)

    def locked(self) -> dict:
        return yaml.safe_load((self.root / "dvc.lock").read_text())["stages"]

    def outs(self) -> dict[str, str]:
        return {
            out["path"]: out["md5"] for stage in self.locked().values() for out in stage["outs"]
        }

    def state(self) -> dict[str, bytes]:
        """Content of everything that DVC must never touch."""
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for folder in STATE
            for path in sorted((self.root / folder).rglob("*"))
            if path.is_file()
        }

    def json(self, name: str) -> dict:
        return json.loads((self.root / "data" / name).read_text())

    def clone(self, target: Path) -> "DvcProject":
        """What somebody else gets: git's content alone, without cache, outs or state."""
        self.run("git", "clone", "-q", str(self.root), str(target))
        return DvcProject(target)

    def copy(self, target: Path) -> "DvcProject":
        shutil.copytree(self.root, target, symlinks=True)
        return DvcProject(target)


@pytest.fixture(scope="module")
def audited(project: Path, tmp_path_factory: pytest.TempPathFactory) -> DvcProject:
    """The audit of a clean project, committed, with its candidate released by waivers."""
    made = DvcProject.build(project, tmp_path_factory.mktemp("dvc") / "audited")
    assert made.repro() == list(DEFAULT)
    made.commit("audit")
    return made


@pytest.fixture(scope="module")
def released(audited: DvcProject, tmp_path_factory: pytest.TempPathFactory) -> DvcProject:
    """The same, its candidate released: every reason against it is waived."""
    made = audited.copy(tmp_path_factory.mktemp("dvc") / "released")
    reasons = made.json("08_reporting/decision.json")["reasons"]
    for rule in sorted({reason["rule"] for reason in reasons}):
        waiver = ("--reason", "a test", "--expires", "2999-01-01")
        made.ptq("waive", rule, *waiver)
    made.ptq("promote", "--by", "Test")
    return made


def test_a_refused_promotion_still_locks_its_stage_and_the_status_is_clean(
    audited: DvcProject,
) -> None:
    assert audited.json("08_reporting/decision.json")["decision"] != "promote"
    assert set(audited.locked()) == set(DEFAULT)
    assert "up to date" in audited.dvc("status")
    assert audited.repro() == []
    audited.ptq("gate", code=None)


def test_a_clean_clone_with_an_empty_trial_store_gives_the_same_hashes(
    audited: DvcProject, tmp_path: Path
) -> None:
    again = audited.clone(tmp_path / "again")
    expected = again.outs()
    assert again.state() == {}
    assert again.repro("--force") == list(DEFAULT)
    found = again.outs()
    assert {path for path in expected if found[path] != expected[path]} == set()
    assert "up to date" in again.dvc("status")
    assert again.run("git", "status", "--porcelain") == "", "what git keeps is the same as well"
    assert "identical" in again.ptq("verify", "--against", "HEAD")


def test_a_release_reruns_the_check_and_dvc_never_touches_the_state(
    released: DvcProject, tmp_path: Path
) -> None:
    mine = released.copy(tmp_path / "mine")
    before = mine.state()
    assert any(name.endswith("champion.json") for name in before)
    assert any(name.endswith(".safetensors") for name in before)
    assert mine.repro() == ["worst_case_check", "promotion", "reporting"]
    comparison = mine.json("08_reporting/champion_comparison.json")
    assert comparison["champion"]["version"] == "v0001"
    assert all(cell["flips"] == 0 for cell in comparison["cells"])
    mine.commit("compared with the champion")
    mine.repro("--force")
    assert mine.state() == before
    shutil.rmtree(mine.root / "data/05_model_input/calibration_sets")
    mine.dvc("checkout")
    assert (mine.root / "data/05_model_input/calibration_sets").is_dir()
    mine.dvc("gc", "-w", "-f")
    assert mine.state() == before
    assert "every hash holds: v0001" in mine.ptq("verify")


def test_what_changed_runs_again_with_what_follows_and_nothing_else(
    audited: DvcProject, tmp_path: Path
) -> None:
    mine = audited.copy(tmp_path / "changed")
    mine.change("worst_case_check", p0=0.2)
    after_check = ["worst_case_check", "drift", "promotion", "reporting"]
    assert mine.repro() == after_check
    assert "worst_case_check.p0" in mine.dvc("params", "diff", "HEAD")
    mine.commit("another threshold")
    moved = json.loads(mine.dvc("params", "diff", "HEAD~1", "HEAD", "--json"))
    values = [each[key] for each in moved.values() for key in each if key.endswith(".p0")]
    assert {(value["old"], value["new"]) for value in values} == {(0.1, 0.2)}
    (shown,) = json.loads(mine.dvc("metrics", "show", "--json"))[""]["data"].values()
    verdict = json.loads((mine.root / "data/08_reporting/verdict.json").read_text())
    assert len(shown["data"]) == 10
    worst = verdict["worst"]
    assert shown["data"]["worst_drop"] == pytest.approx(100 * worst["candidate_drop"], abs=1e-3)
    mine.change("calibration", strategy="class_balanced", comparison_strategies=["random"])
    ran = mine.repro()
    assert "data_loading" not in ran
    assert ran[:2] == ["calibration", "quantization"]
    assert "calibration.strategy" in mine.dvc("params", "diff", "HEAD")


def test_a_plain_run_writes_the_same_files_and_dvc_commit_adopts_what_it_changed(
    audited: DvcProject, tmp_path: Path
) -> None:
    mine = audited.copy(tmp_path / "plain")
    mine.run("kedro", "run")
    assert "up to date" in mine.dvc("status")
    mine.change("worst_case_check", p0=0.2)
    mine.run("kedro", "run", "--pipelines", "worst_case_check,drift,promotion,reporting")
    assert "up to date" not in mine.dvc("status")
    mine.dvc("commit", "--force")
    assert "up to date" in mine.dvc("status")
    assert mine.repro() == []


def test_code_and_weights_run_again_what_depends_on_them(
    audited: DvcProject, tmp_path: Path
) -> None:
    mine = audited.copy(tmp_path / "code")
    quantizer = mine.root / "src/ptq_pipeline/ptq/quantizer.py"
    quantizer.write_text(quantizer.read_text() + "\n# changed\n")
    ran = mine.repro()
    assert "quantization" in ran
    assert "calibration" not in ran, "its thresholds and sets do not depend on the quantizer"
    weights = mine.root / "data/06_models/reference/resnet20.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # the last bit of the last parameter
    weights.write_bytes(content)
    changed = re.findall(r"^(\w+):$", mine.dvc("status"), re.MULTILINE)
    expected = {"data_loading", "calibration", "quantization", "drift", "promotion"}
    assert expected <= set(changed)


def test_sets_and_candidates_move_between_clones(released: DvcProject, tmp_path: Path) -> None:
    mine = released.copy(tmp_path / "mine")
    mine.dvc("remote", "add", "-d", "shared", str(tmp_path / "remote"))
    mine.commit("remote")
    mine.dvc("push")
    clone = mine.clone(tmp_path / "clone")
    assert not (clone.root / "data/05_model_input/calibration_sets").exists()
    clone.dvc("pull")
    for folder in ("data/05_model_input/calibration_sets", "data/06_models/candidate"):
        mine_files, theirs = (
            {p.name: p.read_bytes() for p in sorted((each.root / folder).iterdir())}
            for each in (mine, clone)
        )
        assert mine_files == theirs
    # Continuous integration has no registry, and compares with the champion all the same.
    assert clone.json("06_models/champion_baseline.json")["version"] == "v0001"
    assert not (clone.root / "data/06_models/registry").exists()


def test_a_cache_that_lost_a_file_is_named_and_the_champion_still_serves(
    released: DvcProject, tmp_path: Path
) -> None:
    mine = released.copy(tmp_path / "mine")
    md5 = mine.outs()["data/07_model_output/trials.parquet"]
    lost = mine.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    lost.chmod(0o644)
    lost.unlink()
    (mine.root / "data/07_model_output/trials.parquet").unlink()
    output = mine.dvc("checkout", code=255)
    assert "trials.parquet" in output
    assert "every hash holds: v0001" in mine.ptq("verify")
    assert "champion: v0001" in mine.ptq("status")


def test_plots_of_the_check_can_be_drawn(audited: DvcProject) -> None:
    drawn = json.loads(audited.dvc("plots", "show", "--json"))
    assert not drawn.get("errors"), drawn["errors"]
    assert {"worst groups", "drop distributions"} <= set(drawn["data"])
