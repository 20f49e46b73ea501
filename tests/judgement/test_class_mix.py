"""Another mix of classes: samples alone, samples in clusters, and classes without images."""

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.grouping import build_groups
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.core.tally import tally
from ptq_pipeline.judgement.candidate import Choice, judge_candidate
from ptq_pipeline.judgement.cells import build_cells, collect_counts
from ptq_pipeline.judgement.class_mix import reweighted_drop, reweighted_drops, sample_units
from ptq_pipeline.judgement.policy import Policy

CLASSES = ("boot", "bag")
LEVELS = ("average", "class", "segment", "intersection")


def under(lost, gained, n, target):
    weight = target * n.sum() / n
    units = sample_units(lost, gained, n, weight)
    return reweighted_drop(units, units.drop, weight, 0.05)


def test_reweighting_moves_the_drop_and_widens_the_interval():
    lost, gained, n = np.array([40, 2]), np.array([2, 2]), np.array([400, 400])
    even = under(lost, gained, n, np.array([0.5, 0.5]))
    skewed = under(lost, gained, n, np.array([0.95, 0.05]))
    assert even.drop == pytest.approx(38 / 800) and even.largest_weight == 1
    assert skewed.drop > even.drop and skewed.largest_weight == pytest.approx(1.9)
    for each in (even, skewed):
        assert each.interval[0] < each.drop < each.interval[1]
    assert np.diff(skewed.interval) > np.diff(even.interval)


def mixes(label, wrong, cluster, mix, classes=CLASSES):
    """What a candidate that is wrong on some images loses under a mix of classes."""
    samples = pd.DataFrame({"sample_id": np.arange(len(label)), "split": "audit", "label": label})
    if cluster is not None:
        samples["cluster"] = cluster
    groups = build_groups(samples, classes, {})
    predicted = np.where(wrong, 1 - label, label)
    outcomes = Outcomes.of_one("t", {"clean": predicted}, {"clean": label}, groups)
    limits = {level: {"points": 30.0} for level in LEVELS}
    policy = Policy.model_validate({"limits": limits, "class_priors": {"shop": mix}})
    scores = tally(outcomes)
    cells = build_cells(scores, policy, policy.alpha, groups.cluster_sizes)
    counts = collect_counts(scores, cells, ["t"], "audit").by_cluster(outcomes, cells)
    candidate = judge_candidate(counts, cells, Choice("t"), policy, False)
    return reweighted_drops(candidate, outcomes), reweighted_drops(candidate)


@pytest.mark.parametrize("size", [4, pytest.param(8, marks=pytest.mark.slow), 20])
def test_clusters_that_are_lost_as_a_whole_are_in_their_interval(size):
    """Samples that counted alone would leave the truth out of one interval in eight or more."""
    rng, clusters, runs, inside, alone = np.random.default_rng(size), 800 // size, 150, 0, 0
    label = np.tile([0, 1], 400)
    cluster = np.arange(800) // size
    for _ in range(runs):
        wrong = np.repeat(rng.random(clusters) < 0.05, size)
        (found,), _ = mixes(label, wrong, cluster, {"boot": 3.0, "bag": 1.0})
        inside += found.interval[0] <= 0.05 <= found.interval[1]
        if size == 20:
            (single,), _ = mixes(label, wrong, None, {"boot": 3.0, "bag": 1.0})
            alone += single.interval[0] <= 0.05 <= single.interval[1]
    assert inside / runs >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / runs)
    assert size < 20 or alone / runs < 0.85, "the simulation can tell the two apart"


def test_without_its_answers_nothing_is_shown_of_clusters():
    label = np.tile([0, 1], 200)
    _, (found,) = mixes(label, label < 0, np.arange(400) // 4, {"boot": 3.0, "bag": 1.0})
    assert found.interval == (-1.0, 1.0)


def test_a_class_without_images_is_named_and_may_lose_anything():
    label = np.tile([0, 1], 200)
    mix = {"boot": 1.0, "bag": 1.0, "hat": 2.0}
    (found,), _ = mixes(label, label < 0, None, mix, (*CLASSES, "hat"))
    assert (found.missing, found.missing_share) == (("hat",), 0.5)
    assert found.interval[1] >= 0.5 and found.interval[0] <= -0.5
    (known,), _ = mixes(label, label < 0, None, {"boot": 1.0, "bag": 1.0})
    assert known.missing == () and known.interval[1] < 0.05
