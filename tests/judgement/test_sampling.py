from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from ptq_pipeline.core.group_ids import CellKey
from ptq_pipeline.judgement.cells import Cells, ClusterOutcomes, Counts
from ptq_pipeline.judgement.judging import judge
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.sampling import (
    KnownAnswers,
    SampledCells,
    judge_by_sample,
    judge_in_full,
)

LEVELS = ("average", "class", "segment", "intersection")
LIMIT, ALPHA, ALPHA_BAD = 0.08, 0.036, 0.02


def study_of(sizes, clusters=None, shifts=("clean", "noise")):
    """Disjoint groups under two shifts; clusters of so many images where asked."""
    images = sum(sizes)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    keys = tuple(CellKey("class", str(g), s) for s in shifts for g in range(len(sizes)))
    rows = np.array([groups == int(key.group) for key in keys])
    members = {
        shift: sparse.csr_array((rows * np.array([[k.shift == shift] for k in keys])).astype(int))
        for shift in shifts
    }
    codes, known = {}, {}
    if clusters:
        own = np.arange(images) // clusters
        codes = {i: np.where(rows[i], own, -1) for i in range(len(keys))}
        known = {
            key.of: np.bincount(np.unique(own[rows[i]], return_inverse=True)[1]).astype(float)
            for i, key in enumerate(keys)
        }
    n, flags = rows.sum(axis=1), np.ones(len(keys), bool)
    cells = Cells(keys, n, np.full(len(keys), LIMIT), flags, ~flags, clusters=known)
    return SampledCells(cells, members, codes, ALPHA, ALPHA_BAD, 0.2)


def answers(lost, gained):
    return lambda shift, images: (lost[shift][images], gained[shift][images])


def judged_whole(study, lost, gained):
    """What the one judge says of all answers."""
    counts = [np.array([study.total(each)]) for each in (lost, gained)]
    clusters = {}
    for i, codes in study.clusters.items():
        shift = study.cells.keys[i].shift
        inside = codes >= 0
        own = np.unique(codes[inside], return_inverse=True)[1]
        net = lost[shift][inside].astype(float) - gained[shift][inside]
        size = np.bincount(own).astype(float)
        clusters[i] = ClusterOutcomes(
            size, sparse.csr_array(np.bincount(own, weights=net)[None]), size
        )
    found = Counts(
        *(("t",), study.cells.n, *counts, counts[0], np.ones(len(study.cells))), clusters=clusters
    )
    shown = judge(found, study.cells, ALPHA, ALPHA_BAD)
    return "bad" if shown.shown_bad[0] else "good" if shown.shown_good[0] else "open"


@pytest.mark.parametrize("clusters", [None, 3])
@pytest.mark.parametrize("rate", [0.0, 0.03, 0.06, 0.2])
def test_all_answers_say_what_the_judge_says(clusters, rate):
    rng, study = np.random.default_rng(round(100 * rate)), study_of([180, 300], clusters)
    lost = {s: rng.random(480) < rate + 0.01 for s in study.members}
    gained = {s: ~lost[s] & (rng.random(480) < 0.01) for s in study.members}
    draw = KnownAnswers(study, answers(lost, gained))
    assert judge_in_full(study, draw) == judged_whole(study, lost, gained)
    assert draw.count == 960


@pytest.mark.parametrize("clusters", [None, 3])
def test_sampled_and_full_agree_and_a_good_draw_costs_little(clusters):
    """Answers change where the float model is unsure; what the sample leaves open is looked at."""
    study = study_of([240, 600], clusters)
    risky = {s: np.arange(840) % 20 == 0 for s in study.members}
    costs = []
    for number in range(40):
        rng = np.random.default_rng(number)
        chance = rng.uniform(0, 0.9)
        lost = {s: risky[s] & (rng.random(840) < chance) for s in study.members}
        gained = {s: risky[s] & ~lost[s] & (rng.random(840) < 0.05) for s in study.members}
        draw = KnownAnswers(study, answers(lost, gained))
        state = judge_by_sample(study, draw, risky, np.random.default_rng([number, 1]))
        assert state == judged_whole(study, lost, gained)
        if state == "good" and chance < 0.3:
            costs.append(draw.count / 1680)
    assert np.mean(costs) < (0.35 if clusters is None else 0.5)


def test_what_is_good_in_full_is_never_open_by_sample():
    study, found = study_of([180, 180]), 0
    for number in range(60):
        rng = np.random.default_rng(number)
        lost = {s: rng.random(360) < 0.04 for s in study.members}
        gained = {s: ~lost[s] & (rng.random(360) < 0.02) for s in study.members}
        whole = judged_whole(study, lost, gained)
        nothing = {s: np.zeros(360, bool) for s in study.members}
        draw = KnownAnswers(study, answers(lost, gained))
        state = judge_by_sample(study, draw, nothing, np.random.default_rng([number, 1]))
        assert state == "good" or whole != "good"
        found += whole == "good"
    assert 10 < found < 50


def test_a_draw_that_loses_a_group_of_safe_images_is_bad():
    study = study_of([240, 600])
    risky = {s: np.arange(840) % 20 == 0 for s in study.members}
    lost = {s: (np.arange(840) < 100) & ~risky[s] for s in study.members}
    gained = {s: np.zeros(840, bool) for s in study.members}
    draw = KnownAnswers(study, answers(lost, gained))
    assert judge_by_sample(study, draw, risky, np.random.default_rng(0)) == "bad"
    assert draw.count < 1680


def test_nothing_judged_is_never_good():
    study = study_of([240])
    unjudged = replace(study.cells, judged=np.zeros_like(study.cells.judged))
    study = replace(study, cells=unjudged)
    nothing = {s: np.zeros(240, bool) for s in study.members}
    draw = KnownAnswers(study, answers(nothing, nothing))
    assert judge_by_sample(study, draw, nothing, np.random.default_rng(0)) == "open"
    assert judge_in_full(study, draw) == "open"


@pytest.mark.parametrize(
    "changes",
    [
        {"draws": 36},
        {"representatives": {}},
        # What these leave to a look takes more draws.
        {"ledger": {"rule": "spend"}},
        {"ledger": {"rule": "divide", "questions": 5}, "draws": 50},
        {"ledger": {"looks": 2}},
    ],
)
def test_a_policy_that_samples_and_cannot_pass_is_refused(changes):
    policy = {"evaluation": "sampled", "limits": dict.fromkeys(LEVELS, {"points": 4.0})}
    assert Policy.model_validate({**policy, "draws": 37}).sampling.full == 2
    with pytest.raises(ValueError, match="evaluation: sampled is for a PASS"):
        Policy.model_validate({**policy, "draws": 37, **changes})
    more = {"ledger": {"rule": "spend"}, "draws": 50}
    assert Policy.model_validate({**policy, **more}).sampling.full == 2


def test_a_policy_in_full_has_the_hash_that_it_always_had():
    policy = Policy.model_validate({"limits": dict.fromkeys(LEVELS, {"points": 4.0})})
    assert "evaluation" not in policy.to_json()
    sampled = policy.model_copy(update={"evaluation": "sampled"})
    assert sampled.to_json() != policy.to_json()
