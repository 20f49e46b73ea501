"""The watch's answers, without its pipelines: what they leave is written by hand."""

import json

import pytest
from filelock import FileLock
from tests.commands.test_registry import decided, run, run_json
from tests.registry.conftest import candidate

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.monitoring.history import WindowHistory
from ptq_pipeline.monitoring.windows import UnusableWindow
from ptq_pipeline.project import opened
from ptq_pipeline.routines.watch import Watch

HOLDS = {
    **{"result": "HOLDS", "champion": "v0001", "n": 900, "labelled": True, "cells": []},
    **{"too_small": None, "float_accuracy": 0.9, "policy_hash": "ab"},
}


class Scripted(Watch):
    """A watch whose pipelines write what the script says.

    Attributes:
        arrive: records that monitoring adds.
        gone: windows that cannot be read any more.
        fails: whether the re-audit ends with another error.
    """

    arrive = ()
    gone = ()
    fails = False

    def run(self, pipeline, changes=None):
        if pipeline == "monitoring":
            known = self.project.load("window_history") or WindowHistory()
            content = known.to_json()
            content["windows"] += self.arrive
            self.project.save("window_history", WindowHistory.read(content))
            return
        target = changes["reaudit"]
        for name in (*target["audit_windows"], *target["windows"]):
            if name in self.gone:
                raise UnusableWindow(name, "does not exist any more")
        if self.fails:
            raise InputError("the disk is full")
        path = self.project.root / f"data/08_reporting/monitoring/reaudit_{target['event']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(HOLDS | target))


def record(window, drifted=False, status="accepted"):
    return {
        **{"window": window, "status": status, "reason": "", "late": False, "n": 900},
        **{"drifted": drifted, "champion": "v0001"},
    }


@pytest.fixture
def look(small):
    """Look once at what has arrived, in a project in which v0001 serves."""
    decided(small, *candidate("a"))
    assert run("promote").exit_code == 0

    def look(*arrive, gone=(), fails=False, **rules):
        with opened() as project:
            watch = Scripted(project)
            watch.arrive, watch.gone, watch.fails = arrive, gone, fails
            quick = {"windows": 2, "drifted": 1, "cooldown_hours": 0.0, "rearm_after": 1, **rules}
            watch.rules = type(watch.rules)(**quick)
            return watch.once()

    return look


def test_a_bad_window_alarms_once_by_a_code_of_its_own_and_others_go_on(look):
    report = look(record("1"), record("2", status="rejected"), record("3", drifted=True))
    assert (report["exit_code"], report["action"]) == (12, "recorded")
    assert (report["set_aside"], report["set_aside_in_all"]) == (["2"], 1)
    report = look(record("4"))
    assert (report["exit_code"], report["set_aside"], report["set_aside_in_all"]) == (0, [], 1)
    report = look(record("2"))
    assert (report["exit_code"], report["set_aside_in_all"]) == (0, 0), "it was repaired"


def test_a_call_that_fails_leaves_the_alarm_to_the_next(look):
    with pytest.raises(InputError, match="the disk is full"):
        look(record("1", status="rejected"), record("2", drifted=True), fails=True)
    report = look()
    assert (report["exit_code"], report["action"], report["set_aside"]) == (12, "recorded", ["1"])


def test_a_later_window_that_is_gone_is_left_out_of_the_audit(look):
    report = look(record("1", drifted=True), record("2"), record("3"), gone=("2",))
    assert (report["exit_code"], report["action"]) == (12, "recorded")
    assert report["warnings"] == ["window '2' does not exist any more"]
    report = look(record("4", drifted=True), record("5"), gone=("5",), later_window=True)
    assert (report["exit_code"], report["action"]) == (12, "wait")


def test_an_event_whose_windows_are_gone_is_closed_and_the_next_is_looked_at(look):
    report = look(record("1", drifted=True), gone=("1",))
    assert (report["exit_code"], report["action"]) == (12, "set aside")
    assert "window '1' does not exist any more" in report["reason"]
    report = look(record("2"), gone=("1",))
    assert (report["exit_code"], report["action"]) == (0, "nothing")
    report = look(record("3", drifted=True), gone=("1",))
    assert (report["exit_code"], report["action"]) == (0, "recorded")


def test_a_lock_that_is_held_is_an_answer_of_its_own(small):
    folder = small / "data/07_model_output/monitoring"
    folder.mkdir(parents=True)
    with FileLock(folder / "watch.lock"):
        code, report = run_json("watch", "--once")
        assert (code, report["action"], report["exit_code"]) == (6, "busy", 6)
        said = run("watch", "--once")
    assert said.exit_code == 6
    assert "busy: another watch is at work and holds '" in said.stdout


def test_a_lock_that_cannot_be_taken_is_an_error_that_names_it(small):
    (small / "data/07_model_output/monitoring/watch.lock").mkdir(parents=True)
    said = run("watch", "--once")
    assert said.exit_code == 1
    assert "watch.lock' cannot be locked" in said.stderr
