import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.tasks.tables import answers, scores

import ptq_pipeline
from ptq_pipeline import check
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.tasks.given import given_outcomes
from ptq_pipeline.tasks.judging import judge_table, table_policy
from ptq_pipeline.tasks.reading import texts_of

PAGES = (Path(__file__).parents[2] / "docs/index.md", Path(__file__).parents[2] / "PACKAGE.md")


def arrays(table):
    return table["label"], table["float_answer"], table["quantized_answer"]


def test_arrays_are_judged_as_their_table_is():
    table = answers(lost=30)
    found = check(*arrays(table), groups={"tone": table["tone"]}, limits={"class": 3})
    given = given_outcomes(pd.DataFrame({c: texts_of(table[c]) for c in table}), "it")
    known = judge_table(given, table_policy({}, {"class": 3}, 0)).verdict
    assert found.candidate.cells == known.candidate.cells
    assert found.result == known.result and found.reasons == known.reasons


def test_numbers_lists_scores_draws_clusters_and_policies_are_taken():
    label = np.arange(400) % 4
    assert check(label, label, label).result == "PASS"
    assert check(list(label), list(label), list(label)).result == "PASS"
    assert check(label, label.astype(float), label.astype(str)).result == "PASS"
    table = scores()
    verdict = check(None, table["float_ok"], table["quantized_ok"])
    assert (verdict.result, verdict.source.kind) == ("PASS", "scores")
    right = np.ones(1000, dtype=bool)
    assert check(None, right, right).source.kind == "right_or_wrong"
    draws = check(label, label, np.stack([label] * 50))
    assert draws.recipe.distinct_draws == 50 and draws.recipe.result == "PASS"
    clustered = check(label, label, label, clusters=np.arange(400) // 40)
    assert clustered.result == "INCONCLUSIVE"
    levels = ("average", "class", "segment", "intersection")
    policy = Policy.model_validate({"limits": {level: {"points": 20.0} for level in levels}})
    assert check(label, label, label, limits=policy).policy == policy


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"quantized_answers": ["a"] * 3}, "'quantized_answer' holds 3 units and float_answers 4"),
        ({"labels": ["a"] * 5}, "'label' holds 5 units and float_answers 4"),
        ({"groups": {"tone": ["x"]}}, "'tone' holds 1 units"),
        ({"groups": {"label": ["x"] * 4}}, "group column may not be called 'label'"),
        ({"float_answers": [["a"] * 4]}, r"'float_answers' has the shape \(1, 4\)"),
        ({"float_answers": []}, r"has the shape \(0,\)"),
        ({"labels": None}, "'a' in 'float_ok' is no number"),
        ({"quantized_answers": np.zeros((2, 2, 4))}, r"the shape \(2, 2, 4\); give one value for"),
        ({"quantized_answers": np.zeros((0, 4))}, r"has the shape \(0, 4\)"),
        ({"groups": {"draw": ["x"] * 4}}, "group column may not be called 'draw'; rename it"),
        ({"groups": {"sample_id": list("xxyy")}}, "called 'sample_id'; give it as clusters"),
        ({"groups": ["x"] * 4}, "give groups by name"),
        ({"groups": {"tone": [[1], [2, 3]] * 2}}, "check: setting an array element"),
        ({"groups": {"day": pd.date_range("2026-01-01", periods=4)}}, "column 'day' holds a Time"),
        ({"limits": [3]}, "give limits by level"),
        ({"limits": {"class": "3"}}, "limits: class is '3'; give points of accuracy"),
        ({"limits": {"class": -1}}, "limits: class is -1; give points"),
        ({"labels": None, "float_answers": np.ones(4) * 1j}, "'float_ok' holds a complex"),
        ({"labels": np.ma.masked_equal([1, 1, 2, 2], 1)}, "'label' is empty in 2 rows"),
        ({"quantized_answers": np.ma.array(list("aabb"), mask=[1, 0, 0, 0])}, "is empty in row 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changed, message):
    fine = {
        "labels": list("aabb"),
        "float_answers": list("aabb"),
        "quantized_answers": list("aabb"),
    }
    with pytest.raises(InputError, match=message):
        check(**{**fine, **changed})


def test_a_notebook_shows_it_and_names_do_no_harm():
    table = answers(lost=150).replace({"class 1": "<b>|x"})
    shown = check(*arrays(table))._repr_html_()
    assert "FAIL" in shown and "class &lt;b&gt;|x" in shown and "<b>" not in shown
    assert "One model was judged" in shown and "shown bad" in shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_example_of_the_first_page_runs(page):
    table = answers(lost=150)
    known = {"tones": table["tone"], "pd": pd}
    known |= dict(zip(("labels", "float_answers", "quantized_answers"), arrays(table), strict=True))
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S)
    assert len(code.splitlines()) <= 10
    exec(compile(code, page.name, "exec"), known)
    assert known["verdict"].result == "FAIL"


def test_nothing_else_is_there():
    with pytest.raises(AttributeError, match="no attribute 'chekc'"):
        ptq_pipeline.chekc  # noqa: B018
