"""The page that the watch keeps."""

import pytest

from ptq_pipeline.monitoring.history import WindowHistory, WindowRecord
from ptq_pipeline.monitoring.page import watch_page
from ptq_pipeline.monitoring.trigger import TriggerState

DONE = {"action": "nothing", "reason": "1 of 3 windows drifted", "warnings": ["the clock <back>"]}


@pytest.mark.parametrize("language", ["en", "ja"])
def test_it_says_what_serves_what_came_and_what_was_done(language):
    windows = (
        WindowRecord(window="w1", status="accepted", n=300),
        WindowRecord(window="w<2>", status="accepted", drifted=True, drifted_columns=("contrast",)),
        WindowRecord(window="w3", status="rejected", reason="holds no image"),
    )
    state = TriggerState(
        latest="2026-11-26T04:10:00+00:00", outcomes={"w0": {"action": "promoted", "reason": "x"}}
    )
    page = watch_page(WindowHistory(windows=windows), state, DONE, "v0007", language)
    for said in ("v0007", "2026", "contrast", "holds no image", "promoted", DONE["reason"]):
        assert said in page
    assert page.index("w3") < page.index("w&lt;2&gt;") < page.index(">w1<"), "the newest first"
    assert "<back>" not in page


def test_before_anything_arrived_it_says_so():
    page = watch_page(WindowHistory(), TriggerState(), DONE, None)
    assert "No window has arrived yet." in page and "nothing yet" in page
