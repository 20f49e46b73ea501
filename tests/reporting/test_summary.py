import pytest

from ptq_pipeline.judgement.sentences import say
from ptq_pipeline.reporting.summary import three_lines
from ptq_pipeline.reporting.texts import points


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
    assert points(inputs.verdict.average.drop_mean_over_draws) in lines[1]
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
