import numpy as np
import pytest
from pydantic import ValidationError

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.baseline import Baseline
from ptq_pipeline.routines.ladder import (
    Ending,
    LadderParameters,
    Rung,
    climb,
    conclude,
    shared_shifts,
)

STEPS = [
    {"name": "as it is"},
    {"name": "more images", "calibration": {"set_size": 512}},
    {"name": "eight bits", "quantization": {"method": {"weight_bits": 8}}},
]
STOP_AT = ("promote", "inconclusive")


def ladder(**changes):
    return LadderParameters.model_validate({"recipes": STEPS, **changes})


def tried(*decisions):
    """Climb with audits that end like this; return the rungs."""
    answers = iter(decisions)
    return climb(
        ladder(),
        lambda step: Rung(name=step.name, decision=next(answers), headline="said"),
        stop_at=STOP_AT,
    )


@pytest.mark.parametrize(
    ("decisions", "ending"),
    [
        (("promote",), Ending.PASSED),
        (("refuse", "promote"), Ending.PASSED),
        (("refuse", "inconclusive"), Ending.INCONCLUSIVE),
        (("error", "refuse", "promote"), Ending.PASSED),
        (("refuse", "refuse", "refuse"), Ending.RETRAINING),
        (("refuse", "refuse", "error"), Ending.RETRAINING),
    ],
)
def test_recipes_are_tried_in_order_until_one_is_not_refused(decisions, ending):
    rungs = tried(*decisions)
    assert [rung.name for rung in rungs] == [step["name"] for step in STEPS[: len(decisions)]]
    assert conclude(rungs) is ending


def test_when_no_recipe_could_be_tried_nothing_is_known():
    with pytest.raises(InputError, match="no recipe of the ladder could be tried: said"):
        conclude(tried("error", "error", "error"))


@pytest.mark.parametrize(
    ("champion", "failed", "fallback", "serve"),
    [
        (False, False, "float", None),
        (True, False, "champion", "champion"),
        (True, False, "float", "champion"),
        (True, True, "champion", "champion"),
        (True, True, "float", "float"),
    ],
)
def test_the_float_model_serves_only_when_the_champion_is_shown_to_fail_and_policy_says_so(
    champion, failed, fallback, serve
):
    assert ladder(fallback=fallback).serve(champion, failed) == serve


@pytest.mark.parametrize(
    "double", [{"name": "as it is", "calibration": {"set_size": 9}}, {"name": "again"}]
)
def test_two_steps_that_are_the_same_are_refused(double):
    with pytest.raises(ValidationError, match="are the same"):
        ladder(recipes=[*STEPS, double])


def test_a_step_changes_what_it_names_and_nothing_else():
    assert [step.changes() for step in ladder().recipes] == [
        {},
        {"calibration": {"set_size": 512}},
        {"quantization": {"method": {"weight_bits": 8}}},
    ]


def test_a_searched_step_changes_nothing_by_itself():
    step = {"name": "repair", "repair": True}
    assert ladder(recipes=[*STEPS, step]).recipes[-1].changes() == {}
    with pytest.raises(ValidationError, match="'repair' finds its changes itself"):
        ladder(recipes=[step | {"calibration": {"set_size": 512}}])
    with pytest.raises(ValidationError, match="recipes 'repair' and 'again' are the same"):
        ladder(recipes=[step, step | {"name": "again"}])


def test_a_champion_is_asked_under_the_shifts_that_it_knows_as_they_are_today():
    answered = dict.fromkeys(("clean", "noise", "blur", "lost"), np.zeros(3, np.int64))
    shifts = {"clean": {}, "noise": {"sigma": 0.1}, "blur": {"radius": 1}}
    baseline = Baseline(version="v1", trial_id="t", shifts=shifts, answers=answered)
    assert shared_shifts(baseline, {"clean": {}, "noise": {"sigma": 0.2}}) == ["clean"]
    assert shared_shifts(baseline, {"noise": {"sigma": 0.1}, "fog": {}}) == ["noise"]
