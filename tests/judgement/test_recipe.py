import pandas as pd
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.recipe import collect_draws


@pytest.fixture
def index():
    return pd.DataFrame(
        {
            "set_id": [f"s{i}" for i in range(6)],
            "strategy": ["random"] * 5 + ["noisy"],
            "role": ["evidence"] * 5 + ["comparison"],
            "draw": [4, 3, 2, 1, 0, 0],
            "valid": [True, True, False, True, True, True],
        }
    )


@pytest.fixture
def trials():
    return pd.DataFrame(
        {
            "trial_id": ["t0", "t1", "t3", "t5"],
            "set_id": ["s0", "s1", "s3", "s5"],
            "role": ["evidence"] * 3 + ["comparison"],
            "status": ["done", "failed", "done", "done"],
        }
    )


def test_draws_are_in_order_with_what_became_of_them(index, trials, policy):
    draws = collect_draws(index, trials, policy)
    assert draws.table["set_id"].tolist() == ["s4", "s3", "s1", "s0"]
    assert draws.table["status"].tolist() == ["missing", "done", "failed", "done"]
    assert (draws.drawn, draws.accepted, draws.distinct) == (5, 4, 4)
    assert draws.done == ["t3", "t0"]


def test_preset_counts_accepted_sets(index, trials, policy):
    draws = collect_draws(index, trials, policy.model_copy(update={"draws": 3}))
    assert draws.table["preset"].tolist() == [True, True, True, False]
    assert draws.distinct == 3


def test_identical_sets_are_one_draw(index, trials, policy):
    same = index.assign(array_sha256=["x", "x", "x", "y", "y", "x"])
    draws = collect_draws(same, trials, policy)
    assert draws.table["set_id"].tolist() == ["s4", "s1"]
    assert draws.accepted - len(draws.table) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": ["a", "b", "a", "a", "a", "c"]}, "mixes the strategies a, b"),
        ({"role": "comparison"}, "no set has role 'evidence'"),
        ({"valid": False}, "all 5 calibration sets of the recipe are invalid"),
    ],
)
def test_contradictions_are_named(index, trials, policy, change, message):
    with pytest.raises(InputError, match=message):
        collect_draws(index.assign(**change), trials, policy)


def test_two_trials_of_one_set_are_refused(index, trials, policy):
    with pytest.raises(InputError, match="evidence set 's0' has several trials"):
        collect_draws(index, pd.concat([trials, trials.iloc[:1]]), policy)
