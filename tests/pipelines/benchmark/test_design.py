import numpy as np
import pytest

from ptq_pipeline.pipelines.benchmark.design import (
    FRESH_DRAWS,
    Confirmation,
    candidates,
    confirm,
    needed_random_sets,
    search,
    worst_drop,
)


def quality(choice) -> float:
    return {"hard": 1.0}.get(choice.strategy, 5.0) - choice.size / 1000


def test_the_search_finds_the_best_and_spends_most_draws_on_it():
    seen = []

    def score(choice, draw):
        seen.append((choice.model_dump_json(), draw))
        return quality(choice) + 0.1 * (draw % 2)

    choices = candidates([64, 256])
    assert len(choices) == 2 * 6 * 3
    found = search(choices, score, draws=4)
    assert (found[0].choice.strategy, found[0].choice.size) == ("hard", 256)
    assert all(len(each.scores) == 4 for each in found)
    assert len(seen) == len(set(seen)) == 36 + 18 + 2 * 9
    assert [each.mean for each in found] == sorted(each.mean for each in found)


def test_one_draw_is_one_round():
    found = search(candidates([8]), lambda choice, draw: quality(choice), draws=1)
    assert len(found) == 18 and all(len(each.scores) == 1 for each in found)


@pytest.mark.parametrize("level", [0.05, 0.0304, 0.0076])
def test_so_many_random_sets_that_the_first_rank_reaches_the_level(level):
    count = needed_random_sets(level)
    assert Confirmation(0.0, (1.0,) * count, level).better
    assert not Confirmation(0.0, (1.0,) * (count - 1), level).better


def test_a_winner_like_the_others_is_called_better_as_seldom_as_promised():
    generator = np.random.default_rng(1)
    better = [
        confirm(value, 8, lambda *_: generator.normal(), 0.05).better
        for value in generator.normal(size=2000)
    ]
    assert 0.03 < np.mean(better) < 0.07


def test_the_sentence_is_plain_either_way():
    draws = []

    def score(choice, draw):
        draws.append((choice.size, draw))
        return 3.0

    bad = confirm(3.0, 64, score, 0.05)
    assert bad.says().startswith("nothing better than random sets was found: worst group 3.00")
    assert draws == [(64, FRESH_DRAWS + number) for number in range(19)]
    assert confirm(2.9, 64, score, 0.05).says().startswith("better than random")


def test_worst_drop_is_over_classes_and_shifts():
    labels = np.array([0, 0, 1, 1, 1, 1])
    reference = {"clean": labels, "noise": labels}
    lost = labels.copy()
    lost[2] = 0
    assert worst_drop({"clean": labels, "noise": lost}, reference, labels, 3) == pytest.approx(25)
