"""Audits side by side: equal bytes, the same conclusions, or something else."""

import copy
import hashlib
import json
import shutil
import subprocess

import pytest
import yaml
from tests.commands.test_registry import run, run_json
from tests.project import configured

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.registry.audits import (
    Agreement,
    StoredAudit,
    audit_of_revision,
    audit_of_tree,
    compare_audits,
    with_lock,
)

CELL = {"level": "class", "group": "Sandal", "shift": "clean", "n": 800}
VERDICT = {
    "schema_version": 1,
    "result": "PASS",
    "policy_hash": "ab",
    "recipe": {"strategy": "random", "draws": 50, "set_size": 256, "pool_size": 7000},
    "candidate": {"set_id": "s1", "cells": [{**CELL, "drop": 0.01}]},
    "draw_spread": [{**CELL, "drop_mean": 0.02, "drop_min": 0.01, "drop_max": 0.03}],
}
DECISION = {"decision": "promote", "champion": None}


def lock_of(verdict, **outs):
    outs = {"data/08_reporting/verdict.json": md5(verdict), **outs}
    listed = [{"path": path, "md5": value} for path, value in outs.items()]
    params = {"conf/base/parameters_calibration.yml": {"calibration": {"draws": 50}}}
    return {"schema": "2.0", "stages": {"check": {"cmd": "x", "params": params, "outs": listed}}}


def md5(content):
    return hashlib.md5(json.dumps(content).encode()).hexdigest()


def changed(**drops):
    verdict = copy.deepcopy(VERDICT)
    verdict["draw_spread"][0].update(drops)
    return verdict


def compare(verdict, decision=DECISION, **options):
    return compare_audits(StoredAudit(VERDICT, DECISION), StoredAudit(verdict, decision), **options)


def test_equal_audits_are_identical():
    assert compare(VERDICT).agreement is Agreement.IDENTICAL
    assert compare(VERDICT).differences == ()


def test_a_few_answers_are_equivalent_and_more_are_not():
    close = compare(changed(drop_mean=0.0241))
    assert close.agreement is Agreement.EQUIVALENT
    assert close.differences[0].where == "draw spread: class Sandal under clean, drop_mean"
    assert compare(changed(drop_mean=0.0261)).agreement is Agreement.DIFFERENT
    assert compare(changed(drop_mean=0.0261), tolerance=0.01).agreement is Agreement.EQUIVALENT
    tiny = copy.deepcopy(VERDICT)
    for rows in (tiny["draw_spread"], tiny["candidate"]["cells"]):
        rows[0]["n"] = 20
    moved = copy.deepcopy(tiny)
    moved["draw_spread"][0]["drop_max"] += 2 / 20
    found = compare_audits(StoredAudit(tiny, DECISION), StoredAudit(moved, DECISION))
    assert found.agreement is Agreement.EQUIVALENT, "two answers of twenty"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"result": "FAIL"}, "verdict"),
        ({"policy_hash": "cd"}, "policy"),
        ({"recipe": {**VERDICT["recipe"], "draws": 30}}, "recipe draws"),
        ({"draw_spread": []}, "draw spread: class Sandal under clean"),
        ({"draw_spread": [{**VERDICT["draw_spread"][0], "n": 799}]}, "samples"),
    ],
)
def test_what_decides_makes_them_different(change, where):
    found = compare({**VERDICT, **change})
    assert found.agreement is Agreement.DIFFERENT
    assert where in found.differences[0].where


def test_another_candidate_alone_is_equivalent_another_decision_is_not():
    other = {**VERDICT, "candidate": {"set_id": "s2", "cells": [{**CELL, "drop": 0.03}]}}
    found = compare(other)
    assert found.agreement is Agreement.EQUIVALENT
    assert "candidate's calibration set" in {each.where for each in found.differences}
    refused = compare(VERDICT, {**DECISION, "decision": "refuse"})
    assert refused.agreement is Agreement.DIFFERENT


def test_files_and_parameters_say_where_it_began():
    before = with_lock(StoredAudit(VERDICT, DECISION), lock_of(VERDICT, images="aa", sets="bb"))
    lock = lock_of(VERDICT, images="aa", sets="cc")
    lock["stages"]["check"]["params"]["conf/base/parameters_calibration.yml"]["calibration"] = 1
    found = compare_audits(before, with_lock(StoredAudit(VERDICT, DECISION), lock))
    assert found.agreement is Agreement.EQUIVALENT
    assert [each.where for each in found.differences] == ["parameter check: calibration", "sets"]
    with pytest.raises(InputError, match=r"dvc\.lock cannot be read"):
        with_lock(StoredAudit(VERDICT, DECISION), {"stages": {"check": {"outs": [{"path": "x"}]}}})


@pytest.fixture
def repository(tmp_path, project, monkeypatch):
    """A Kedro project in git with one committed audit."""
    configured(project, tmp_path)
    write(tmp_path, VERDICT)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "-c", "user.name=T", "-c", "user.email=t@e.org", "commit", "-qm", "audit")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(root, verdict, decision=DECISION, data="data", **outs):
    folder = root / data / "08_reporting"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "verdict.json").write_text(json.dumps(verdict))
    (folder / "decision.json").write_text(json.dumps(decision))
    (root / "dvc.lock").write_text(yaml.safe_dump(lock_of(verdict, **outs)))


def git(root, *arguments):
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)


def test_verify_against_a_revision_answers_by_word_and_exit_code(repository):
    code, found = run_json("verify", "--against", "HEAD")
    assert (code, found["agreement"], found["notes"]) == (0, "identical", [])
    assert found["git"]["dirty"] is False
    write(repository, changed(drop_mean=0.021))
    code, found = run_json("verify", "--against", "HEAD")
    assert (code, found["agreement"]) == (0, "equivalent")
    assert found["git"]["dirty"] is True
    assert "the working tree differs from" in found["notes"][-1]
    write(repository, {**VERDICT, "result": "FAIL"}, {**DECISION, "decision": "refuse"})
    result = run("verify", "--against", "HEAD")
    assert result.exit_code == 5
    assert result.stdout.splitlines()[:2] == ["different", "  ! verdict: PASS -> FAIL"]


def test_a_lock_that_is_not_of_this_audit_is_not_used(repository):
    write(repository, VERDICT, images="aa")
    (repository / "data/08_reporting/verdict.json").write_text(json.dumps(changed(drop_mean=0.021)))
    code, found = run_json("verify", "--against", "HEAD")
    assert (code, found["agreement"]) == (0, "equivalent")
    assert "does not belong to its verdict" in found["notes"][0]
    (repository / "dvc.lock").unlink()
    assert "there is no dvc.lock" in run_json("verify", "--against", "HEAD")[1]["notes"][0]


def test_what_is_missing_is_named(repository, monkeypatch):
    paths = "data/08_reporting/verdict.json", "data/08_reporting/decision.json"
    result = run("verify", "--against", "nowhere")
    assert result.exit_code == 1
    assert "git knows no revision 'nowhere'" in result.stderr
    with pytest.raises(InputError, match="is no revision"):
        audit_of_revision(repository, "--output=x", *paths)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="git is needed .* install it"):
        audit_of_revision(repository, "HEAD", *paths)
    (repository / paths[0]).write_text("{")
    with pytest.raises(InputError, match="of the working tree is damaged"):
        audit_of_tree(repository, *paths)
    (repository / paths[1]).unlink()
    with pytest.raises(InputError, match="run an audit first"):
        audit_of_tree(repository, *paths)


def test_audits_of_another_environment_are_compared_where_git_has_them(repository):
    write(repository, VERDICT, data="data/passing")
    result = run("verify", "--against", "HEAD", "--env", "passing")
    assert result.exit_code == 1
    assert "'HEAD' holds no 'data/passing/08_reporting/verdict.json'" in result.stderr
    assert "git add --force data/passing/08_reporting/verdict.json" in result.stderr
    git(repository, "add", "--force", "data/passing/08_reporting")
    git(repository, "-c", "user.name=T", "-c", "user.email=t@e.org", "commit", "-qm", "passing")
    code, found = run_json("verify", "--against", "HEAD", "--env", "passing")
    assert (code, found["agreement"]) == (0, "identical")
    assert "no DVC stage of the working tree writes 'data/passing/" in found["notes"][0]
    write(repository, {**VERDICT, "result": "FAIL"}, data="data/passing")
    assert run("verify", "--against", "HEAD", "--env", "passing").exit_code == 5
    assert run("verify", "--against", "HEAD").exit_code == 0


def test_audits_of_a_mount_are_compared(repository):
    (repository / "conf/base/catalog_shop.yml").write_text(
        "shop.verdict: {type: json.JSONDataset, filepath: data/shop/08_reporting/verdict.json}\n"
        "shop.decision: {type: json.JSONDataset, filepath: data/shop/08_reporting/decision.json}\n"
    )
    write(repository, VERDICT, data="data/shop")
    git(repository, "add", "--all")
    git(repository, "-c", "user.name=T", "-c", "user.email=t@e.org", "commit", "-qm", "shop")
    write(repository, changed(drop_mean=0.021), data="data/shop")
    code, found = run_json("verify", "--against", "HEAD", "--mount", "shop")
    assert (code, found["agreement"]) == (0, "equivalent")


def test_without_git_an_audit_is_compared_with_a_promoted_version(repository):
    shutil.rmtree(repository / ".git")
    result = run("verify", "--against", "HEAD")
    assert result.exit_code == 1
    assert "is not in a git repository" in result.stderr and "--against v0001" in result.stderr
    assert "version v0001 cannot be read" in run("verify", "--against", "v0001").stderr
    version = repository / "data/06_models/registry/versions/v0001"
    shutil.copytree(repository / "data/08_reporting", version)
    code, found = run_json("verify", "--against", "v0001")
    assert (code, found["agreement"], found["git"]["revision"]) == (0, "identical", None)
    assert "no git here" in found["notes"][-1]
