"""Calibration sets of a requantization go under DVC, and never into a commit."""

import logging
import shutil
import subprocess
import sys

import pytest
from tests.commands.test_registry import run, run_json

from ptq_pipeline.project import opened
from ptq_pipeline.routines.watch import add_to_dvc

FOLDER = "data/05_model_input/requantization/event1"
SETS = f"{FOLDER}/calibration_sets"
# DVC hides what it keeps from git, unless git ignores it already.
WRITTEN = [f"{FOLDER}/.gitignore", f"{SETS}.dvc"]
AUTHOR = ("-c", "user.name=T", "-c", "user.email=t@e.org")


@pytest.fixture
def sets(small, project):
    """A project with the sets of one event; the current directory."""
    shutil.copy(project / ".gitignore", small)
    (small / SETS).mkdir(parents=True)
    (small / SETS / "a.json").write_text("{}")
    (small / SETS / "a.npy").write_bytes(bytes(100))
    return small


@pytest.fixture
def versioned(sets):
    """The same in git and DVC, with one commit."""
    call(sets, "git", "init", "-q")
    call(sets, sys.executable, "-m", "dvc", "init", "-q")
    call(sets, "git", "add", "-A")
    call(sets, "git", *AUTHOR, "commit", "-qm", "start")
    return sets


def call(root, *command):
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return done.stdout


def add():
    with opened() as project:
        return add_to_dvc(project, "event1")


def test_the_sets_are_added_and_wait_for_a_commit_that_people_make(versioned):
    before = call(versioned, "git", "rev-parse", "HEAD")
    assert sorted(add()) == WRITTEN
    assert call(versioned, "git", "rev-parse", "HEAD") == before
    assert call(versioned, "git", "diff", "--cached", "--name-only") == ""
    assert f"{SETS}/" not in call(versioned, "git", "status", "--porcelain", "-uall")
    assert run_json("status")[1]["uncommitted_dvc_files"] == WRITTEN
    for path in WRITTEN:
        assert f"waits for a git commit: {path}\n" in run("status").stdout
    call(versioned, "git", "add", "-A")
    assert run_json("status")[1]["uncommitted_dvc_files"] == WRITTEN
    call(versioned, "git", *AUTHOR, "commit", "-qm", "sets of event1")
    assert run_json("status")[1]["uncommitted_dvc_files"] == []
    shutil.rmtree(versioned / SETS)
    call(versioned, sys.executable, "-m", "dvc", "checkout", "-q")
    assert (versioned / SETS / "a.npy").read_bytes() == bytes(100)


def test_without_dvc_the_sets_are_kept_and_it_is_said(sets, caplog):
    with caplog.at_level(logging.WARNING):
        assert add() == []
    assert "no DVC here (`dvc init`)" in caplog.text
    assert (sets / SETS / "a.json").is_file()


def test_what_dvc_refuses_is_said_with_the_command(versioned, caplog):
    (versioned / ".dvc/config").write_text("[core\n")
    with caplog.at_level(logging.WARNING):
        assert add() == []
    assert f"`dvc add {SETS}` failed" in caplog.text
    assert (versioned / SETS / "a.json").is_file()
