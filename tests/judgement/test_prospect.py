"""How likely a PASS is, from answers on selection."""

import numpy as np
import pytest
from tests.judgement.test_question import SHIFTS, SPEC, policy, world

from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.judgement.prospect import Prospect
from ptq_pipeline.judgement.stopping import Scope


def chance(lost, clusters=False, **changes):
    """Of a recipe all of whose draws lose so many of the 200 selection images when clean."""
    groups, predictions, reference, index, _ = world(clusters, 0)
    chosen = groups.sample_ids[groups.split == "selection"][:lost]
    hit = (predictions["shift"] == "clean") & predictions["sample_id"].isin(chosen)
    worse = np.where(hit, 1 - predictions["predicted"], predictions["predicted"])
    outcomes = Outcomes.pair(predictions.assign(predicted=worse), reference, groups)
    question = Scope.planned(index, groups, policy(**changes)).question(SHIFTS, SPEC)
    return Prospect.of(question, outcomes, list(outcomes.trial_ids)).chance()


@pytest.mark.parametrize("clusters", [False, True])
def test_a_recipe_that_loses_nothing_passes_and_a_hopeless_one_does_not(clusters):
    found = chance(0, clusters)
    assert (found.chance, found.blocker) == (1.0, None)
    found = chance(60, clusters)
    assert found.chance == 0 and found.blocker is not None


def test_losses_in_clusters_leave_less_chance_than_alone():
    assert chance(6, clusters=True).chance < chance(6).chance


def test_between_them_it_is_a_chance_and_a_change_may_raise_it():
    found = chance(7)
    assert 0 < found.chance < 1
    assert found.changes[0][1] == max(each for _, each in found.changes)
    looser = {level: {"points": 12.0} for level in ("average", "class", "segment")}
    easier = chance(7, limits={**looser, "intersection": {"points": 30.0}})
    assert easier.chance > found.chance


def test_too_few_draws_have_no_chance():
    assert chance(0, draws=20).chance == 0


def test_audit_images_are_not_looked_at():
    groups, predictions, reference, index, _ = world(False, 300)
    outcomes = Outcomes.pair(predictions, reference, groups)
    question = Scope.planned(index, groups, policy()).question(SHIFTS, SPEC)
    assert Prospect.of(question, outcomes, list(outcomes.trial_ids)).chance().chance == 1.0
