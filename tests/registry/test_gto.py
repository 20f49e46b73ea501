"""Promotions as git tags: in a real repository, by the real commands."""

import subprocess

import pytest
from tests.commands.test_registry import decided, run, run_json
from tests.registry.conftest import against, candidate

from ptq_pipeline.registry.gto import GtoTags
from ptq_pipeline.registry.records import RegistryError


def git(root, *arguments):
    found = subprocess.run(
        ["git", *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return found.stdout


def commit(root, message):
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)


@pytest.fixture
def repository(small, project, monkeypatch):
    git(small, "init", "-q")
    git(small, "config", "user.name", "T")
    git(small, "config", "user.email", "t@example.com")
    (small / ".gitignore").write_text("data/06_models/registry\ndata/06_models/candidate\n")
    return small


def tags(root):
    return set(git(root, "tag", "--list").split())


def test_versions_and_stages_are_tagged_and_rolled_back(repository):
    first = decided(repository, *candidate("a"))
    commit(repository, "audit of a")
    code, record = run_json("promote", "--gto")
    assert (code, record["tags"]) == (0, ["model#production#1", "model@v0.0.1"])
    # The release itself has rewritten the baseline; the same command again changes nothing.
    assert "champion_baseline.json" in git(repository, "status", "--porcelain")
    code, record = run_json("promote", "--gto")
    assert (code, "tags" in record) == (0, False)
    decided(repository, *candidate("b", champion=against(first)))
    commit(repository, "audit of b")
    assert run("promote", "--gto").stdout.splitlines() == [
        "champion: v0002 (before: v0001)",
        "tag: model#production#2",
        "tag: model@v0.0.2",
    ]
    result = run("rollback", "--to", "v0001", "--gto")
    assert result.stdout.splitlines() == [
        "champion: v0001 (before: v0002)",
        "tag: model#production#3",
    ]
    commits = [
        git(repository, "rev-parse", f"{tag}^{{commit}}") for tag in sorted(tags(repository))
    ]
    assert commits[2] == commits[0] == commits[3], "production is v0.0.1 again"


def test_a_tree_that_is_not_clean_is_refused_before_anything_moves(repository):
    decided(repository, *candidate("a"))
    commit(repository, "audit")
    (repository / "conf/base/globals.yml").open("a").write("# changed\n")
    result = run("promote", "--gto")
    assert result.exit_code == 1
    assert "'conf/base/globals.yml' is not committed" in result.stderr
    assert tags(repository) == set()
    assert run_json("status")[1]["champion"] is None


def test_a_refused_release_leaves_no_tag(repository):
    from tests.registry.conftest import REASON

    decided(repository, *candidate("a", "FAIL", reasons=[REASON]))
    commit(repository, "audit")
    assert run("promote", "--gto").exit_code == 3
    assert tags(repository) == set()


def test_a_tag_that_cannot_be_made_takes_the_others_back_and_files_stay_the_truth(repository):
    first = decided(repository, *candidate("a"))
    commit(repository, "audit of a")
    assert run("promote", "--gto").exit_code == 0
    # Another decision on the same commit, as of an environment whose results stand outside git.
    reports = git(repository, "ls-files", "data/08_reporting").split()
    git(repository, "update-index", "--assume-unchanged", *reports)
    decided(repository, *candidate("b", champion=against(first)))
    before = tags(repository)
    result = run("promote", "--gto")
    assert result.exit_code == 1
    assert "v0.0.1" in result.stderr
    assert "commit the audit that it rests on" in result.stderr
    assert tags(repository) == before
    assert run_json("status")[1]["champion"] == "v0002"
    commit_empty = ("commit", "--allow-empty", "-q", "-m", "audit of b")
    git(repository, *commit_empty)
    assert run_json("promote", "--gto")[1]["tags"] == ["model#production#2", "model@v0.0.2"]


def test_a_version_without_a_tag_still_rolls_back_and_says_so(repository):
    first = decided(repository, *candidate("a"))
    commit(repository, "audit of a")
    assert run("promote").exit_code == 0
    decided(repository, *candidate("b", champion=against(first)))
    commit(repository, "audit of b")
    assert run("promote", "--gto").exit_code == 0
    result = run("rollback", "--to", "v0001", "--gto")
    assert result.exit_code == 1
    assert "version v0001 serves again, but it has no tag 'model@v0.0.1'" in result.stderr
    assert run_json("status")[1]["champion"] == "v0001"


def test_without_git_the_reason_is_one_sentence(tmp_path, monkeypatch):
    given = GtoTags(tmp_path, "model", "production", tmp_path / "champion_baseline.json")
    with pytest.raises(RegistryError, match="needs a git repository with a commit"):
        given.check()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RegistryError, match="needs git, which cannot be run"):
        given.check()
