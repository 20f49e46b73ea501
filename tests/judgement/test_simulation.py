"""Error rates of the code that decides. The tolerance is 2.5 standard errors of the simulation."""

import pytest
from verdict_simulation import POWER, WRONG_FAIL, WRONG_PASS, simulate

REPEATS = 1000
TOLERANCE = 2.5 * (0.05 * 0.95 / REPEATS) ** 0.5


def name(scenario):
    return scenario.name


@pytest.mark.parametrize("scenario", WRONG_PASS, ids=name)
def test_wrong_pass_of_the_recipe_is_rare(scenario):
    assert simulate(scenario, REPEATS).recipe_pass <= 0.05 + TOLERANCE


@pytest.mark.parametrize("scenario", WRONG_FAIL, ids=name)
def test_wrong_fail_and_wrong_pass_of_the_candidate_are_rare(scenario):
    rates = simulate(scenario, REPEATS)
    assert rates.recipe_fail <= 0.05 + TOLERANCE
    assert rates.candidate_fail <= 0.05 + TOLERANCE
    assert rates.candidate_pass <= 0.05 + TOLERANCE


@pytest.mark.parametrize("scenario", [s for s in POWER if s.name.startswith("good")], ids=name)
def test_good_recipe_and_candidate_almost_always_pass(scenario):
    rates = simulate(scenario, 100)
    assert rates.recipe_pass >= 0.95
    assert rates.candidate_pass >= 0.95


@pytest.mark.parametrize("scenario", [s for s in POWER if "hopeless" in s.name], ids=name)
def test_hopeless_recipe_is_refused_more_often_than_not(scenario):
    rates = simulate(scenario, 100)
    assert rates.recipe_pass == 0
    assert rates.recipe_fail >= 0.5


def test_simulation_is_reproducible():
    assert simulate(WRONG_PASS[0], 20, seed=5) == simulate(WRONG_PASS[0], 20, seed=5)
