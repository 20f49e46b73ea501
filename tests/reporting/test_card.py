import yaml

from ptq_pipeline.reporting.card import model_card
from ptq_pipeline.reporting.formats import points

OWED = {
    **{"name": "ACME: notice", "touched": True, "kind": "notice_required", "to": "ACME"},
    **{"level": "class", "group": "Sandal", "shift": "clean"},
    "text": "ACME must be told: 3 answers differ.",
}
RECORD = {
    "time": "2026-11-26T02:00:00+00:00",
    "content": {
        "version": "v0002",
        "decision_hash": "d" * 64,
        "hashes": {"float_model": "f" * 64, "policy": "p" * 64},
        "runtime": {"name": "openvino", "version": "2026.4"},
        "obligations": [OWED],
        "waivers": [{"reason": "Sandal is not sold | before May"}],
    },
}


def test_the_card_says_openly_who_loses_and_what_was_waived(inputs):
    text = model_card(RECORD, inputs.verdict)
    _, header, body = text.split("---\n", 2)
    fields = yaml.safe_load(header)
    assert fields["version"] == "v0002"
    assert fields["verdict"] == "FAIL"
    assert fields["runtime"] == RECORD["content"]["runtime"]
    worst = min(
        (c for c in inputs.verdict.candidate.cells if c.judged and c.level != "average"),
        key=lambda cell: cell.rank,
    )
    row = next(line for line in body.splitlines() if line.startswith(f"| {worst.group} "))
    assert row == [line for line in body.splitlines() if line.startswith("| ")][2]
    assert f" {points(worst.drop)} " in row
    assert "Trouser & size=large (n = 4; too few images)" in body
    assert "ACME must be told: 3 answers differ." in body
    assert r"Sandal is not sold \| before May" in body
    assert "| all images |" in body


def test_the_card_in_japanese(inputs):
    text = model_card(RECORD, inputs.verdict, "ja")
    assert "# 版 v0002 のモデルカード" in text
    assert "全画像" in text


def test_a_card_without_candidate_cells_is_still_a_card(inputs):
    candidate = inputs.verdict.candidate.model_copy(update={"trial_id": None, "cells": ()})
    nothing = {"candidate": candidate, "groups_not_judged": ()}
    verdict = inputs.verdict.model_copy(update=nothing)
    assert "Every group could be judged" in model_card(RECORD, verdict)
