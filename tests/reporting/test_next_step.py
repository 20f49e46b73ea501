"""One next step, by what was decided and by what is missing."""

import dataclasses
import re

import pytest

from ptq_pipeline.core.documents import Document
from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.judgement.sentences import place_value, say
from ptq_pipeline.reporting.next_step import next_step
from ptq_pipeline.reporting.texts import load_texts

SHIRT = place_value(("class", "Shirt", "clean"))
GIVEN = {
    "settle.new_run": {"draws": 80, "share": 0.04},
    "settle.keeps": {"more": 300, "cell": SHIRT, "subject": "candidate"},
    "settle.out_of_reach": {"cell": SHIRT, "subject": "candidate"},
}


def stepped(audit, options, language="en"):
    return next_step(audit, options, load_texts(language))


def open_audit(restated, inputs, key, **method):
    sentence = say(key, **GIVEN[key])
    recipe = inputs.verdict.recipe.model_copy(update={"result": "INCONCLUSIVE"})
    changes = {"settle": (sentence.text,), "settle_sentences": (sentence,)}
    changed = restated(inputs, result="INCONCLUSIVE", recipe=recipe)
    verdict = changed.verdict.model_copy(update=changes)
    quantization = changed.parameters["quantization"]
    parameters = {
        **changed.parameters,
        "quantization": {**quantization, "method": {**quantization["method"], **method}},
    }
    return dataclasses.replace(changed, verdict=verdict, parameters=parameters)


def test_a_refused_recipe_is_repaired_and_then_given_more_bits(full, inputs, options):
    step = stepped(inputs, options)
    assert (step.command, step.time) == ("kedro ptq repair", "")
    assert "for rounding weights" in stepped(full, options).time
    decision = full.decision.model_copy(update={"environment": "repaired"})
    again = stepped(dataclasses.replace(full, decision=decision), options)
    assert again.command == "kedro ptq ladder"
    assert "for 5 recipes" in again.time


def test_the_time_of_a_repair_is_mostly_that_of_rounding(full, options):
    def minutes(size):
        parameters = {**full.parameters, "calibration": {"set_size": size}}
        time = stepped(dataclasses.replace(full, parameters=parameters), options).time
        return int(re.search(r"about (\d+) minutes", time)[1])

    speed = full.candidate_speed.candidate.images_per_second
    trials = full.scores["trial_id"].nunique()
    # 30 sets of the search and those of the audit; an image of a set is worth 120 of inference.
    more = (30 + trials) * 10_000 * 120 / speed / 60
    assert minutes(20_000) - minutes(10_000) == pytest.approx(more, abs=1)


def test_a_pass_is_released_and_one_of_another_environment_audited_in_base(
    inputs, options, restated
):
    passed = restated(inputs, result="PASS", reasons=(), settle=())
    assert stepped(passed, options).command == "kedro ptq promote"
    decision = passed.decision.model_copy(update={"environment": "night"})
    step = stepped(dataclasses.replace(passed, decision=decision), options)
    assert step.command == "kedro run"
    assert "environment 'night'" in step.text


@pytest.mark.parametrize(
    ("key", "command"),
    [
        (
            "settle.new_run",
            "kedro run --params calibration.draws=80,worst_case_check.draws=80",
        ),
        ("settle.keeps", "kedro run"),
        (
            "settle.out_of_reach",
            "kedro run --params "
            "quantization.method.weight_bits=8,quantization.method.activation_bits=8",
        ),
    ],
)
def test_what_is_open_is_settled_by_draws_images_or_bits(inputs, options, restated, key, command):
    assert stepped(open_audit(restated, inputs, key), options).command == command


def test_with_all_bits_spent_the_worst_group_is_looked_into(inputs, options, restated):
    audit = open_audit(restated, inputs, "settle.out_of_reach", activation_bits=8)
    group = inputs.verdict.worst.group
    assert stepped(audit, options).command == f"kedro ptq explain '{group}'"


def test_commands_name_mount_and_environment(inputs, options, restated):
    mounted = options.model_copy(update={"mount": "shop"})
    assert stepped(inputs, mounted).command == "kedro ptq repair --mount shop"
    step = stepped(open_audit(restated, inputs, "settle.new_run"), mounted)
    assert step.command == (
        "kedro run --pipelines shop --params "
        "shop.calibration.draws=80,shop.worst_case_check.draws=80"
    )


def test_a_pass_refused_beside_what_serves_says_that_it_serves_on(full, options):
    verdict = full.verdict.model_copy(update={"result": "PASS", "reasons": ()})
    files = full.decision.candidate.files
    decision = Decision.of(verdict, files, "base", comparison=full.champion_comparison)
    audit = dataclasses.replace(full, verdict=verdict, decision=decision)
    assert isinstance(decision, Document)
    step = stepped(audit, options)
    assert step.command == "kedro ptq gate"
    assert "passes" in step.text
