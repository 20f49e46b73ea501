import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.judgement.stopping import Scope, Study


@pytest.fixture
def study(build_world, policy):
    """Build a study of so many draws of which policy presets so many."""

    def build(draws, preset, **changes):
        world = build_world([0] * draws)
        samples = world.samples
        shifts = ["clean", "noise"]
        reference = pd.concat(
            [samples[["sample_id"]].assign(shift=s, predicted=samples["label"]) for s in shifts]
        )
        asked = policy.model_copy(update={"draws": preset, **changes})
        return Study(Scope.planned(world.index, world.groups, asked), shifts, reference)

    return build


def results(study, states):
    return [study.add(state) for state in states]


def test_pass_comes_as_soon_as_the_draws_that_are_left_can_change_nothing(study):
    asked = study(60, 60)
    assert asked.question.split.allowed == 1
    assert results(asked, ["good"] * 59) == [None] * 58 + ["PASS"]
    asked = study(60, 60)
    assert results(asked, ["open", *["good"] * 59]) == [None] * 59 + ["PASS"]


def test_with_no_room_every_preset_draw_is_needed(study):
    assert results(study(50, 50), ["good"] * 50) == [None] * 49 + ["PASS"]


def test_two_open_draws_are_inconclusive_when_nothing_can_be_refused_any_more(study):
    found = results(study(60, 60), ["open", "open"])
    assert found == [None, None], "the draws that are left could all be bad"
    asked = study(60, 60)
    found = results(asked, ["open", "open", *["good"] * 58])
    first = found.index("INCONCLUSIVE")
    assert set(found[:first]) == {None} and set(found[first:]) == {"INCONCLUSIVE"}
    assert first < 59


def test_failed_trials_are_bad_draws_and_refuse_after_four(study):
    assert results(study(50, 50), ["failed", "bad", "bad", "failed"]) == [None, None, None, "FAIL"]


def test_draws_beyond_the_preset_ones_can_still_refuse(study):
    asked = study(60, 30)
    found = results(asked, ["good"] * 60)
    first = found.index("PASS")
    bad_from = np.array([None] * first + ["PASS"] * (60 - first))
    assert (np.array(found) == bad_from).all()
    assert first >= 29, "thirty draws may pass, while the thirty behind them could refuse"


def test_too_few_sets_never_pass(study):
    assert "PASS" not in results(study(40, 50), ["good"] * 40)
