"""`kedro ptq watch` under cron: real processes, two at once, killed, with windows that are broken.

The shop of the drift story, with little data and a policy that few draws can pass. The tests follow
each other: each starts where the one before ended.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tests.project import drift_story, lenient

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def story_module(project):
    return drift_story(project)


@pytest.fixture(scope="module")
def shop(story_module, tmp_path_factory):
    """A project in which v0001 serves."""
    sizes = story_module.Sizes(pool=700, reference=500, selection=200, audit=800, calm=300)
    story = story_module.Story(tmp_path_factory.mktemp("watched") / "shop", sizes)
    story.build()
    lenient(story)
    code, output = story.call("run")
    assert code == 0, output
    assert story.report("promote", "--by", "Jo")[0] == 0
    return story


def champion(shop):
    path = shop.root / "data/06_models/registry/champion.json"
    return json.loads(path.read_text())["version"]


def state(shop):
    path = shop.root / "data/07_model_output/monitoring/state.json"
    return json.loads(path.read_text()) if path.is_file() else {"pending": None}


def start(shop, stderr=subprocess.PIPE):
    """Start a watch and do not wait for it."""
    return subprocess.Popen(
        [sys.executable, "-m", "kedro", "ptq", "watch", "--once", "--json"],
        cwd=shop.root,
        env={**os.environ, "DO_NOT_TRACK": "1"},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def test_a_window_that_is_too_small_to_judge_is_waited_for(shop):
    """Open for lack of images is no reason to requantize: the next window settles it."""
    shop.deliver("2027-01-01", 0.6, 4_000, 240)
    code, report = shop.report("watch", "--once")
    assert (code, report["action"], report["champion"]) == (0, "wait", "v0001")
    assert "was not shown to hold" in report["reason"]
    assert "and needs about" in report["reason"]
    assert not (shop.root / "data/08_reporting/requantization").exists()
    shop.deliver("2027-01-02", 0.6, 4_300, 1_400)
    code, report = shop.report("watch", "--once")
    assert (code, report["action"]) == (0, "recorded"), report["reason"]
    assert "still holds on 1" in report["reason"]
    name = f"data/08_reporting/monitoring/reaudit_{report['event']}.json"
    assert json.loads((shop.root / name).read_text())["audit_windows"] == ["2027-01-02"]
    assert state(shop)["pending"] is None


@pytest.mark.parametrize(
    ("number", "exposure", "code", "action"),
    [(0, 0.55, 0, "recorded"), (1, 1.0, 10, "advised")],
)
def test_without_labels_the_watch_reassures_or_advises_and_never_promotes(
    shop, number, exposure, code, action
):
    # A calm window first: it arms the watch again.
    calm_row, rows = ((2_500, 300), (3_700, 240))[number]
    shop.deliver(f"2027-01-{3 + 2 * number:02d}", 0.5, calm_row, rows)
    window, row = f"2027-01-{4 + 2 * number:02d}", 5_700 + 1_400 * number
    shop.deliver(window, exposure, row, 1_400, labels=False)
    found, report = shop.report("watch", "--once")
    assert (found, report["action"], report["champion"]) == (code, action, "v0001"), report
    assert "answers differently by" in report["reason"]
    assert not (shop.root / "data/08_reporting/requantization").exists()


def test_a_watch_that_is_killed_leaves_what_the_next_one_goes_on_from(shop):
    shop.deliver_calm("2027-02-01", 2)
    shop.deliver("2027-02-02", 1.0, 8_600, 1_800)
    registry = shop.root / "data/06_models/registry"
    before = {p: p.read_bytes() for p in registry.rglob("*") if p.is_file()}
    monitoring = shop.root / "data/08_reporting/monitoring"
    known = set(monitoring.glob("reaudit_*.json"))
    log = shop.root / "watch.log"
    for moment, reached in {
        "while windows are measured": lambda: "accepted" in log.read_text(),
        "when the event is known": lambda: state(shop)["pending"] is not None,
        "while candidates are audited": lambda: set(monitoring.glob("reaudit_*.json")) > known,
    }.items():
        with log.open("w") as stderr:
            process = start(shop, stderr)
        while process.poll() is None and not reached():
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, f"it was to be killed {moment}"
        # The release is the last step, so the registry is as it was.
        assert before == {p: p.read_bytes() for p in registry.rglob("*") if p.is_file()}
    assert state(shop)["pending"]["windows"] == ["2027-02-02"]


def test_of_two_at_once_one_acts_and_the_other_says_so(shop):
    first, second = start(shop), start(shop)
    outputs = [process.communicate(timeout=900) for process in (first, second)]
    reports = [json.loads(out) for out, _ in outputs]
    assert sorted(process.returncode for process in (first, second)) == [0, 6], outputs
    acted, idle = sorted(reports, key=lambda report: report["exit_code"])
    assert (acted["action"], acted["champion"]) == ("promoted", "v0002")
    assert (idle["action"], idle["exit_code"]) == ("busy", 6)
    assert "another watch is at work" in idle["reason"]
    triggers = [r["content"].get("trigger", "") for r in shop.report("history")[1]]
    assert triggers.count(f"drift:{acted['event']}") == 1
    assert shop.report("verify")[0] == 0


def test_windows_that_cannot_be_used_are_named_and_skipped(shop, story_module):
    folder = shop.root / "data/01_raw/production"

    def deliver(name, rows=240):
        shop.deliver(name, 0.5, 11_000 - rows, rows)
        return folder / name

    cut_off = deliver("2027-03-01") / "images-idx3-ubyte.gz"
    cut_off.write_bytes(cut_off.read_bytes()[:900])
    labels = deliver("2027-03-02") / "labels-idx1-ubyte.gz"
    story_module.write(labels, np.full(240, 12, np.uint8))
    (deliver("2027-03-03") / "images-idx3-ubyte.gz").unlink()
    (folder / "2027-03-04").mkdir()
    (folder / "2027-03-04/manifest.csv").write_text("file,class\na.png,bag\n")
    (folder / "2027-03-05/Bag").mkdir(parents=True)
    (folder / "2027-03-05/Bag/1.png").write_bytes(b"no image")
    (folder / "2027-03-06").mkdir()
    shutil.copytree(folder / "2027-02-02", folder / "2027-03-07")
    shop.deliver("2026-12-31", 0.5, 2_800, 240)
    code, report = shop.report("watch", "--once")
    assert (code, report["action"], report["champion"]) == (12, "nothing", "v0002")
    assert len(report["set_aside"]) == report["set_aside_in_all"] == 5
    found = {each["window"]: (each["status"], each["reason"]) for each in report["windows"]}
    for name, status, reason in (
        ("2027-03-01", "rejected", "images-idx3-ubyte.gz' is truncated"),
        ("2027-03-02", "rejected", "label '12' of"),
        ("2027-03-03", "rejected", "holds no window: neither images-idx3-ubyte.gz"),
        ("2027-03-04", "rejected", "has no column 'path'"),
        ("2027-03-05", "rejected", "1.png' cannot be decoded"),
        ("2027-03-06", "empty", "holds no image"),
        ("2027-03-07", "repeated", "the same images as '2027-02-02'"),
        ("2026-12-31", "accepted", ""),
    ):
        assert found[name][0] == status, found[name]
        assert reason in found[name][1]
        assert name in found[name][1] or status == "accepted"
    assert next(each for each in report["windows"] if each["window"] == "2026-12-31")["late"]
    code, report = shop.report("watch", "--once")
    assert (code, report["windows"]) == (0, []), "each is decided about once"
    assert (report["set_aside"], report["set_aside_in_all"]) == ([], 5)


def test_a_broken_window_stops_a_run_only_where_it_is_named(shop):
    shop.change("parameters_drift", drift={"windows": ["2027-02-01"]})
    code, output = shop.call("run", "--pipelines", "drift")
    assert code == 0, output
    shop.change("parameters_drift", drift={"windows": ["2027-02-01", "2027-03-01"]})
    code, output = shop.call("run", "--pipelines", "drift")
    assert code == 1
    said = " ".join((output + (shop.root / "last_errors.log").read_text()).split())
    assert "production window '2027-03-01' cannot be compared" in said


def test_a_clock_that_went_backwards_is_reported(shop):
    path = shop.root / "data/07_model_output/monitoring/state.json"
    path.write_text(json.dumps(state(shop) | {"latest": "2199-01-01T00:00:00+00:00"}))
    code, report = shop.report("watch", "--once")
    assert (code, report["action"]) == (0, "nothing")
    assert "the clock went backwards" in report["warnings"][0]
    assert not state(shop)["latest"].startswith("2199")
    assert shop.report("watch", "--once")[1]["warnings"] == [], "it is told once"
    path.write_text("{")
    code, _ = shop.report("watch", "--once")
    assert code == 1
    said = (shop.root / "last_errors.log").read_text()
    assert "state.json' is damaged" in said
    assert champion(shop) == "v0002"
