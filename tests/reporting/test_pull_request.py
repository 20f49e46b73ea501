from xml.etree import ElementTree

from ptq_pipeline.judgement.sentences import Reason
from ptq_pipeline.reporting.summary import (
    MOST_REASONS,
    MOST_ROWS,
    junit_report,
    pull_request_summary,
)
from ptq_pipeline.reporting.texts import points


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
