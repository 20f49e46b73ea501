"""The workflow that audits a pull request: its syntax, its commands and its paths."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ptq_pipeline.commands import COMMANDS

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
# YAML 1.1 reads the key `on` as a truth value.
ON = True


def steps(content):
    return [step for job in content["jobs"].values() for step in job["steps"]]


@pytest.fixture(scope="module")
def audit():
    return yaml.safe_load((ROOT / ".github/workflows/audit.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_workflow_has_the_keys_that_github_asks_for(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", ON, "jobs", "permissions"} <= set(content)
    for job in content["jobs"].values():
        assert {"runs-on", "steps", "timeout-minutes"} <= set(job)
    for step in steps(content):
        assert ("uses" in step) != ("run" in step), step
        if "uses" in step:
            # A tag can be moved to other code, a commit cannot.
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", step["uses"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_scripts_parse_and_no_expression_is_pasted_into_them(path):
    for step in steps(yaml.safe_load(path.read_text(encoding="utf-8"))):
        if "run" not in step:
            continue
        assert "${{" not in step["run"], "a branch name could run code: pass it by env"
        if shutil.which("bash"):
            subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)


def test_a_pull_request_is_pulled_reproduced_gated_and_summed_up(audit):
    assert "pull_request" in audit[ON]
    assert audit["permissions"] == {"contents": "read"}
    script = "\n".join(step.get("run", "") for step in steps(audit))
    parts = ("dvc pull", "dvc status", 'kedro run --env "$AUDITED"', "kedro ptq gate")
    order = [script.index(part) for part in parts]
    assert order == sorted(order)
    for name in re.findall(r"kedro ptq ([\w-]+)", script):
        assert name in COMMANDS
    gate = next(step for step in steps(audit) if step.get("run", "").startswith("kedro ptq gate"))
    assert gate["run"] == 'kedro ptq gate --env "$AUDITED"'
    assert (ROOT / "conf" / audit["env"]["AUDITED"]).is_dir()
    assert audit["env"]["REPORTS"] == f"data/{audit['env']['AUDITED']}/08_reporting"
    assert "continue-on-error" not in gate
    assert "GITHUB_STEP_SUMMARY" in script


def test_what_is_kept_is_what_an_audit_writes(audit):
    catalog = (ROOT / "conf/base/catalog.yml").read_text(encoding="utf-8")
    upload = next(step for step in steps(audit) if "upload-artifact" in step.get("uses", ""))
    names = [Path(line).name for line in upload["with"]["path"].split()]
    assert {"report.html", "junit.xml", "pull_request.md", "decision.json"} <= set(names)
    for name in names:
        assert f"/08_reporting/{name}" in catalog
    assert all(step.get("if") == "always()" for step in steps(audit)[-2:])


@pytest.fixture(scope="module")
def action():
    text = (ROOT / ".github/actions/judge/action.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def test_the_action_is_composite_pinned_and_pastes_nothing_into_scripts(action):
    assert action["runs"]["using"] == "composite"
    for step in action["runs"]["steps"]:
        if "uses" in step:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", step["uses"])
        else:
            assert step["shell"] == "bash" and "${{" not in step["run"]
    used = set(re.findall(r"inputs\.([\w-]+)", str(action["runs"])))
    assert used == set(action["inputs"])


@pytest.mark.parametrize(("limits", "code", "verdict"), [("class=25", 0, "PASS"), ("", 4, "IN")])
def test_the_script_of_the_action_judges_two_files(action, tmp_path, limits, code, verdict):
    """Run as a runner would; 60 units that lose nothing show 25 points and not 4."""
    for name in ("float", "quantized"):
        rows = "".join(f"{i},{'ab'[i % 2]},{'ab'[i % 2]}\n" for i in range(60))
        (tmp_path / f"{name}.csv").write_text(f"id,label,answer\n{rows}")
    step = next(each for each in action["runs"]["steps"] if each.get("id") == "judge")
    (tmp_path / "policy.yml").write_text(
        "limits: {average: {points: 25}, segment: {points: 25}, intersection: {points: 25}}\n"
    )
    given = {"FLOAT": "float.csv", "QUANTIZED": "quantized.csv", "LIMITS": limits}
    files = {"GITHUB_OUTPUT": "output", "GITHUB_STEP_SUMMARY": "summary"}
    environment = os.environ | given | files | {"POLICY": "policy.yml" if limits else ""}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=environment, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert (tmp_path / "output").read_text().startswith(f"verdict={verdict}")
    assert (tmp_path / "summary").stat().st_size > 100
