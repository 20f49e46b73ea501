import math
from dataclasses import replace

import numpy as np
import pytest

from ptq_pipeline.core.group_ids import CellKey
from ptq_pipeline.judgement.cells import Cells
from ptq_pipeline.ptq import MethodSpec
from ptq_pipeline.routines.repair.search import Scorer, Tried, going_on
from ptq_pipeline.routines.repair.space import AS_IT_IS, Variant

KEYS = (
    CellKey("average", "all", "clean"),
    CellKey("class", "boot", "clean"),
    CellKey("class", "boot", "noise"),
    CellKey("intersection", "boot & tone=dark", "clean"),
)


@pytest.fixture
def scorer():
    cells = Cells(
        KEYS,
        n=np.array([800, 100, 100, 30]),
        limit=np.array([0.01, 0.04, 0.06, 0.1]),
        judged=np.array([True, True, True, True]),
        critical=np.zeros(4, bool),
    )
    # The intersection is not looked at.
    return Scorer(None, None, cells, np.array([True, True, True, False]), {})


def tried(scorer, name, *drops, error=""):
    variant = Variant(name, MethodSpec(), 1)
    return Tried(variant, scorer, tuple(np.array(each) for each in drops), error)


def test_the_score_is_the_largest_share_of_a_limit_of_the_mean_drops(scorer):
    found = tried(scorer, "a", [0.002, 0.02, 0.0, 0.1], [0.002, 0.0, 0.06, 0.1])
    assert found.score == pytest.approx(0.5) and found.place == KEYS[2]
    assert found.largest("class") == pytest.approx(3.0)
    assert found.largest("average") == pytest.approx(0.2)
    assert math.isnan(found.largest("segment"))


def test_an_error_scores_worse_than_any_loss(scorer):
    assert tried(scorer, "a", [0.5, 0.5, 0.5, 0.5], error="it failed").score == math.inf
    assert tried(scorer, "a").score == math.inf


def test_better_is_more_than_the_spread_between_draws(scorer):
    own = tried(scorer, "own", *([0.0, 0.02, 0.0, 0.0], [0.0, 0.03, 0.0, 0.0]))
    better = tried(scorer, "a", *([0.0, 0.01, 0.0, 0.0], [0.0, 0.0195, 0.0, 0.0]))
    luck = tried(scorer, "b", *([0.0, 0.03, 0.0, 0.0], [0.0, 0.01, 0.0, 0.0]))
    assert better.better_than(own) and not own.better_than(better)
    assert luck.score < own.score and not luck.better_than(own)
    assert better.better_than(tried(scorer, "c", error="it failed"))
    single = (
        tried(scorer, name, drops[0]) for name, drops in (("a", better.drops), ("b", own.drops))
    )
    assert next(single).better_than(next(single))


def test_the_best_go_on_and_the_configured_one_with_them(scorer):
    names = ["a", "b", "c", AS_IT_IS]
    order = [Variant(name, MethodSpec(weight_bits=bits), 1) for bits, name in enumerate(names, 2)]
    found = {each.key: tried(scorer, each.name, [0.0] * 4) for each in order}
    assert [each.name for each in going_on(order, 2, found)] == ["a", "b", AS_IT_IS]
    found[order[1].key] = replace(found[order[1].key], error="it failed")
    assert [each.name for each in going_on(order, 2, found)] == ["a", "c", AS_IT_IS]
    assert [each.name for each in going_on(order, 9, found)] == ["a", "c", AS_IT_IS]
