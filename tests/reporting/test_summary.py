from xml.etree import ElementTree

import pytest

from ptq_pipeline.judgement.sentences import Reason, say
from ptq_pipeline.reporting.formats import points
from ptq_pipeline.reporting.summary import (
    MOST_REASONS,
    MOST_ROWS,
    junit_report,
    pull_request_summary,
    three_lines,
)


def changed(inputs, **changes):
    return inputs.verdict.model_copy(update=changes)


def test_three_lines_say_decision_worst_group_and_report(inputs):
    lines = three_lines(inputs.verdict, inputs.decision, "data/08_reporting/report.html")
    worst = inputs.verdict.worst
    assert len(lines) == 3
    assert lines[0] == "Decision: do not ship (FAIL)."
    assert worst.group in lines[1]
    assert f"loses {points(worst.drop_mean_over_draws)} points" in lines[1]
    assert f"{points(worst.drop_worst_draw)} in the worst draw" in lines[1]
    assert f"n = {worst.n}" in lines[1]
    beside = inputs.verdict.average_beside_worst
    assert beside.shift == worst.shift
    assert points(beside.drop_mean_over_draws) in lines[1]
    assert lines[2] == "Report: data/08_reporting/report.html"


def test_classes_that_are_not_judged_are_the_last_line(inputs):
    few = {"level": "class", "group": "crane", "n": 3, "needed": 42}
    few |= {"shift": None, "accuracy": None, "allowed": False}
    dark = few | {"level": "segment", "group": "tone=dark", "shift": "noise", "accuracy": 0.126}
    line = say("not_judged.some", groups=[few, dark | {"allowed": True}], more=2)
    verdict = changed(inputs, not_judged=line.text, not_judged_sentence=line)
    lines = three_lines(verdict, inputs.decision, "r")
    assert len(lines) == 4
    assert lines[3] == (
        "Not judged: class crane (3 images, needs 42), segment tone=dark (under noise the float "
        "model is right on 12.6 %; policy allows it), and 2 other groups."
    )
    japanese = three_lines(verdict, inputs.decision, "r", "ja")[3]
    assert "3枚、42枚必要" in japanese and "12.6" in japanese and "方針が許可" in japanese
    assert "class" not in japanese


@pytest.mark.parametrize(
    ("decision", "result", "words"),
    [
        ("promote", "PASS", "may ship (PASS)"),
        ("refuse", "PASS", "do not ship (PASS)"),
        ("inconclusive", "INCONCLUSIVE", "not decided"),
    ],
)
def test_first_line_follows_the_decision(inputs, decision, result, words):
    decided = inputs.decision.model_copy(update={"outcome": decision})
    assert words in three_lines(changed(inputs, result=result), decided, "r")[0]


def test_no_judged_group_is_said(inputs):
    verdict = changed(inputs, worst=None, average=None)
    assert "none could be judged" in three_lines(verdict, inputs.decision, "r")[1]


def test_a_hostile_group_name_stays_on_one_short_line(inputs):
    evil = "evil\n\x1b[31m" + "x" * 200
    worst = inputs.verdict.worst.model_copy(update={"group": evil})
    lines = three_lines(changed(inputs, worst=worst), inputs.decision, "r")
    assert len(lines) == 3
    assert not any("\n" in line or "\x1b" in line for line in lines)
    assert len(lines[1]) < 300


def summary(inputs, language="en"):
    return pull_request_summary(inputs.verdict, inputs.decision, inputs.worst_case_table, language)


def test_summary_says_the_answer_first_and_then_the_worst_groups(inputs):
    lines = summary(inputs).splitlines()
    assert lines[0] == "## Audit of the quantized model: FAIL"
    assert lines[2].startswith("**Do not ship this quantized model.**")
    rows = [line for line in lines if line.startswith("| ")][2:]
    averages = sum(cell.level == "average" for cell in inputs.verdict.candidate.cells)
    assert len(rows) == MOST_ROWS + averages
    assert points(inputs.verdict.worst.drop_mean_over_draws) in rows[0]
    assert len([line for line in lines if line.startswith("- ")]) == MOST_REASONS + 1
    assert inputs.decision.hash[:12] in lines[-1]


def test_groups_that_are_not_judged_are_named_and_no_reason_stands_twice(inputs):
    text = "class crane has 3 audit images and needs 42 to be judged."
    reasons = [Reason(rule="r", subject=subject, text=text) for subject in ("recipe", "candidate")]
    decision = inputs.decision.model_copy(update={"reasons": tuple(reasons)})
    left = {"not_judged": "Not judged: class crane (3 images, needs 42)."}
    verdict = inputs.verdict.model_copy(update=left | {"not_judged_sentence": None})
    text = pull_request_summary(verdict, decision, inputs.worst_case_table)
    assert "Not judged: class crane \\(3 images, needs 42\\)." in text
    assert text.count("3 audit images and needs 42") == 1


def test_summary_in_japanese(inputs):
    lines = summary(inputs, "ja").splitlines()
    assert "この量子化モデルは出荷しないでください。" in lines[2]
    assert "ガウスノイズ" in "".join(lines)


def test_names_of_groups_mark_nothing_up_and_call_nobody(inputs):
    table = inputs.worst_case_table.assign(group="@you|[x](http://y)<b>" + "z" * 200)
    text = pull_request_summary(inputs.verdict, inputs.decision, table)
    row = next(line for line in text.splitlines() if "you" in line)
    assert row.startswith(r"| \@you\|\[x\]\(http")
    assert len(row) < 250


def test_every_cell_is_a_test_case_and_only_good_ones_pass(inputs):
    root = ElementTree.fromstring(junit_report(inputs.verdict, inputs.decision).encode())
    cases = root.findall("testsuite[@name='candidate']/testcase")
    cells = inputs.verdict.candidate.cells
    assert len(cases) == len(cells)
    for case, cell in zip(cases, cells, strict=True):
        expected = {"shown_good": [], "shown_bad": ["failure"]}.get(cell.status, ["skipped"])
        assert [child.tag for child in case] == expected
    decision = root.find("testsuite[@name='decision']/testcase/failure")
    assert decision.get("message").startswith("refuse: ")


def test_a_group_with_markup_stays_text_in_junit(inputs):
    candidate = inputs.verdict.candidate
    cells = [cell.model_copy(update={"group": "<b>&\x00"}) for cell in candidate.cells]
    candidate = candidate.model_copy(update={"cells": tuple(cells)})
    verdict = inputs.verdict.model_copy(update={"candidate": candidate})
    root = ElementTree.fromstring(junit_report(verdict, inputs.decision).encode())
    assert "<b>&" in root.find("testsuite[@name='candidate']/testcase").get("name")


def test_a_promoted_candidate_fails_no_case(inputs, restated):
    passing = restated(inputs, decision="promote", result="PASS", reasons=[])
    root = ElementTree.fromstring(junit_report(passing.verdict, passing.decision).encode())
    assert root.find("testsuite[@name='decision']").get("failures") == "0"
