"""The log of windows is a document: earlier ones are read, and written again as they were."""

import json
from pathlib import Path

import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.monitoring.history import WindowHistory, WindowRecord
from ptq_pipeline.monitoring.trigger import TriggerState
from ptq_pipeline.monitoring.windows import Status

ACCEPTED = {
    **{"sequence": 1, "window": "w1", "status": "accepted", "reason": "", "late": False},
    **{"digest": "d1", "content": "c1", "n": 900, "labelled": True},
    **{"champion": "v0001", "drifted": True, "drifted_columns": ["brightness"]},
    "columns": {"brightness": {"distance": 0.3, "threshold": 0.1}},
    "clip_rates": {"clip_rate": 0.01},
}
REJECTED = {
    **{"sequence": 2, "window": "w2", "status": "rejected", "reason": "broken", "late": True},
    **{"digest": "d2", "content": None, "n": 0, "labelled": False, "drifted": False},
}
CONTENT = {"schema_version": 1, "windows": [ACCEPTED, REJECTED]}


def test_what_was_written_is_read_and_written_again_as_it_was():
    history = WindowHistory.read(CONTENT)
    assert history.to_json() == CONTENT
    assert list(history.accepted) == ["w1"] and history.set_aside == ["w2"]
    (seen,) = history.telling
    assert (seen.window, seen.n, seen.drifted, seen.champion) == ("w1", 900, True, "v0001")
    assert WindowHistory().to_json() == {"schema_version": 1, "windows": []}


def test_a_window_that_cannot_be_compared_is_set_aside_by_what_was_measured():
    arrived = WindowRecord(window="w3", status=Status.ACCEPTED, reason="2 images left out", n=90)
    found = WindowHistory.read(CONTENT).extended([arrived], {"w3": "it cannot be compared"})
    assert found.to_json()["windows"][:2] == CONTENT["windows"]
    added = found.windows[2]
    assert (added.sequence, added.window, added.status, added.n) == (3, "w3", "rejected", 90)
    assert (added.reason, added.drifted) == ("it cannot be compared", False)
    assert found.set_aside == ["w2", "w3"]


@pytest.mark.parametrize(
    "content", [{"windows": 3}, {"schema_version": 2}, {"windows": [{**ACCEPTED, "n": "many"}]}]
)
def test_a_damaged_log_is_an_error_with_a_way_out(content):
    with pytest.raises(
        InputError, match="log of production windows is incomplete or damaged.*from a backup"
    ):
        WindowHistory.read(content)


def test_a_state_of_an_earlier_version_is_read():
    event = {"event": "e", "windows": ["w1"], "champion": None, "time": "2027-01-01T00:00:00+00:00"}
    earlier = {
        **{"schema_version": 1, "handled": ["w1"], "armed": False, "calm": 0},
        **{"last_event": event, "pending": event, "latest": event["time"], "outcomes": {}},
    }
    read = TriggerState.read(earlier).to_json()
    assert read == earlier


@pytest.mark.parametrize(
    ("name", "read"), [("windows", WindowHistory.read), ("state", TriggerState.read)]
)
def test_files_of_an_earlier_release_are_read_and_written_again_as_they_were(name, read):
    content = json.loads((Path(__file__).parent / f"earlier/{name}.json").read_text())
    assert read(content).to_json() == content
