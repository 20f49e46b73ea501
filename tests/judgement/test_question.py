"""Whoever may stop early, plan or look quickly asks what the verdict asks."""

import json

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.grouping import build_groups
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.core.tally import tally
from ptq_pipeline.judgement.building import AuditSetting, build_verdict
from ptq_pipeline.judgement.ledger import Asking, AuditImages, Ledger
from ptq_pipeline.judgement.openings import Opener
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.stopping import Scope, Study

CLASSES = ("boot", "bag")
SHIFTS = ("clean", "noise")
DRAWS = 50
# Of the second question, by the ledger's rule.
PARTS = {"warn": 1.0, "spend": 6 / (2 * np.pi) ** 2}
IMAGES = AuditImages.of([f"{i:064x}" for i in range(900)])
SPEC = {"model": "m", "method": {"name": "x"}, "shifts": {"clean": {}, "noise": {"severity": 2}}}


def world(clusters, lost):
    """Two classes, one segment, a control column, and trials that lose the first boots at night."""
    position = np.arange(1100)
    samples = pd.DataFrame(
        {
            **{"sample_id": position, "label": position % 2},
            "split": np.where(position < 200, "selection", "audit"),
            "tone": np.where(position % 4 < 2, "dark", "light"),
            "camera": np.where(position % 3 == 0, "night", "day"),
        }
    )
    if clusters:
        samples["cluster"] = position // 3
    groups = build_groups(
        samples, CLASSES, {"tone": ("dark", "light")}, controls={"camera": ("day", "night")}
    )
    reference = pd.concat(
        [samples[["sample_id"]].assign(shift=s, predicted=samples["label"]) for s in SHIFTS]
    )
    night = np.flatnonzero((samples["camera"] == "night") & (samples["split"] == "audit"))
    parts = []
    for draw in range(DRAWS):
        predicted = samples["label"].to_numpy().copy()
        predicted[night[:lost]] = 1 - predicted[night[:lost]]
        for shift in SHIFTS:
            answers = predicted if shift == "clean" else samples["label"]
            parts.append(
                samples[["sample_id"]].assign(trial_id=f"t{draw}", shift=shift, predicted=answers)
            )
    index = pd.DataFrame(
        {
            **{"set_id": [f"s{i}" for i in range(DRAWS)], "strategy": "random"},
            **{"role": "evidence", "draw": range(DRAWS), "valid": True},
        }
    )
    trials = index.assign(
        trial_id=[f"t{i}" for i in range(DRAWS)], status="done", spec=json.dumps(SPEC)
    )
    return groups, pd.concat(parts), reference, index, trials


def policy(**changes):
    limits = {level: {"points": 8.0} for level in ("average", "class", "segment")}
    return Policy.model_validate(
        {"limits": {**limits, "intersection": {"points": 20.0}}, "draws": DRAWS, **changes}
    )


def asked(made, rule, ledger, only=()):
    """What the study and the verdict ask, and what they find."""
    groups, predictions, reference, index, trials = made
    opener = Opener(ledger, IMAGES, "chosen on")
    scope = Scope.planned(index, groups, rule, only, opener)
    study = Study(scope, SHIFTS, reference, SPEC)
    scores = tally(Outcomes.pair(predictions, reference, groups))
    scores = scores.merge(trials[["trial_id", "set_id", "strategy", "role", "draw"]], on="trial_id")
    setting = AuditSetting(groups, predictions, reference, opener=opener)
    verdict, _ = build_verdict(scores, trials, index, rule, setting)
    return study, verdict


@pytest.fixture
def ledger(tmp_path):
    found = Ledger(tmp_path / "ledger.jsonl")
    found.enter(IMAGES, Asking("design", {"asked": "before"}))
    return found


# What clusters change does not depend on the ledger's rule, and takes most of the time.
@pytest.mark.parametrize(
    ("rule", "evaluation", "clusters"),
    [
        ("warn", "full", False),
        ("spend", "full", False),
        ("spend", "sampled", False),
        ("spend", "sampled", True),
    ],
)
def test_a_study_judges_the_cells_of_the_verdict_at_its_level(ledger, clusters, rule, evaluation):
    spending = policy(ledger={"rule": rule}, evaluation=evaluation)
    study, verdict = asked(world(clusters, 0), spending, ledger)
    question = study.question
    judged = {tuple(question.cells.keys[i]) for i in np.flatnonzero(question.cells.judged)}
    assert judged == {tuple(c.key) for c in verdict.candidate.cells if c.judged}
    assert {key[2] for key in judged} == {"clean", "noise", "camera=day", "camera=night"}
    assert question.split.alpha_image == verdict.recipe.alpha_image
    assert question.split.sampling == spending.sampling
    assert question.policy.alpha == verdict.recipe.alpha
    assert verdict.recipe.alpha == pytest.approx(
        0.05 * (1 if rule == "warn" else 6 / (2 * np.pi) ** 2)
    )
    assert question.opening.entry.hash == verdict.ledger.openings[0].entry
    assert len(ledger.entries()) == 2, "one look, however often it is taken"


@pytest.mark.parametrize(
    ("lost", "clusters"), [(0, False), (25, False), (150, False), (25, True), (150, True)]
)
def test_a_study_comes_to_the_result_of_the_verdict(ledger, lost, clusters):
    made = world(clusters, lost)
    study, verdict = asked(made, policy(), ledger)
    found = None
    for draw in range(DRAWS):
        answers = made[1][made[1]["trial_id"] == f"t{draw}"]
        found = found or study.add(study.look(answers))
    assert found == verdict.recipe.result
    if lost == 150:
        assert (found, study.failed_after) == ("FAIL", verdict.recipe.failed_after_draws)


def test_a_quick_look_cannot_pass_whatever_its_draws_are(ledger):
    """The policy refuses so many draws with representatives; the judge does not rely on it."""
    made = world(False, 0)
    only = [("class", "boot"), ("average", "all")]
    study, _ = asked(made, policy(), ledger, only)
    assert study.question.blocked and study.question.opening.entry.share == 0
    answers = made[1][made[1]["trial_id"] == "t0"]
    assert "PASS" not in [study.add(study.look(answers)) for _ in range(DRAWS)]
