from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.core.tally import tally
from ptq_pipeline.judgement.building import AuditSetting, build_verdict
from ptq_pipeline.judgement.cells import build_cells, collect_counts

FIFTY = 50


@pytest.fixture(scope="module")
def answers(build_world):
    def build(lost, cluster):
        world = build_world(lost, columns={"cluster": cluster})
        shifts = ["clean", "noise"]
        float_predictions = pd.concat(
            [
                world.samples[["sample_id"]].assign(shift=s, predicted=world.samples["label"])
                for s in shifts
            ]
        )
        parts = []
        for trial, count in enumerate(lost):
            for shift in shifts:
                predicted = world.samples["label"].to_numpy().copy()
                boots = (world.samples["split"] == "audit") & (world.samples["label"] == 0)
                if shift == "noise":
                    predicted[np.flatnonzero(boots)[:count]] = 1
                part = world.samples[["sample_id"]].assign(
                    trial_id=f"trial-{trial:02d}", shift=shift, predicted=predicted
                )
                parts.append(part)
        return world, AuditSetting(world.groups, pd.concat(parts), float_predictions)

    return build


def judge(found, policy):
    world, setting = found
    return build_verdict(world.scores, world.trials, world.index, policy, setting)[0]


PAIRS = np.arange(1200) // 4


def test_clustered_samples_can_pass(answers, policy):
    verdict = judge(answers([0] * FIFTY, PAIRS), policy)
    assert verdict.result == "PASS"
    cell = next(c for c in verdict.candidate.cells if c.group == "boot")
    assert cell.interval[0] < 0 < cell.interval[1] < 0.05


def test_clusters_need_more_than_single_samples_do(answers, build_world, policy):
    # 9 of 500 boots lost keep 5 points if they are independent, and not if few clusters hold them.
    alone = build_world([9] * FIFTY)
    passed, _ = build_verdict(alone.scores, alone.trials, alone.index, policy)
    assert passed.recipe.result == "PASS"
    verdict = judge(answers([9] * FIFTY, np.arange(1200) // 24), policy)
    assert verdict.recipe.result == "INCONCLUSIVE"


def test_hopeless_recipe_fails_with_clusters_too(answers, policy):
    verdict = judge(answers([350] * 6, PAIRS), policy)
    assert (verdict.recipe.result, verdict.candidate.result) == ("FAIL", "FAIL")


def test_samples_without_a_cluster_stand_alone(answers):
    cluster = np.where(np.arange(1200) < 800, np.nan, PAIRS)
    world, _ = answers([0], cluster)
    sizes = world.groups.cluster_sizes[("average", "all")]
    assert sorted(np.unique(sizes)) == [1.0, 4.0] and sizes.sum() == 1000


def test_one_large_cluster_among_many_keeps_no_group_from_passing(answers, policy):
    cluster = np.where(np.arange(1200) < 1190, np.arange(1200), 1190)
    verdict = judge(answers([0] * FIFTY, cluster), policy)
    assert verdict.result == "PASS"
    left = {(each.level, each.group): each.left_out for each in verdict.capped_groups}
    assert left["average", "all"] == 9
    average = next(cell for cell in verdict.candidate.cells if cell.level == "average")
    assert average.n == 991
    # An audit without clusters says nothing of caps.
    alone = judge(answers([0] * FIFTY, np.arange(1200)), policy)
    assert "capped_groups" not in alone.to_json()


def test_too_few_clusters_are_not_judged(answers, policy):
    verdict = judge(answers([0] * 3, np.arange(1200) // 100), policy)
    assert {(g.level, g.group) for g in verdict.groups_not_judged} >= {("class", "boot")}
    assert all(g.needed_n > g.n for g in verdict.groups_not_judged)


def test_a_shift_whose_clusters_are_not_known_stays_open(answers, policy):
    """As the images of a production window, which are in clusters of their own."""
    world, setting = answers([0] * FIFTY, PAIRS)
    production = world.scores[world.scores["shift"] == "clean"].assign(shift="production")
    scores = pd.concat([world.scores, production], ignore_index=True)
    verdict, _ = build_verdict(scores, world.trials, world.index, policy, setting)
    assert verdict.result == "INCONCLUSIVE"
    found = {c.shift: c for c in verdict.candidate.cells if c.group == "boot"}
    assert found["clean"].status == "shown_good" and found["clean"].accuracy_lower > 0.95
    assert found["production"].status == "open"
    assert found["production"].accuracy_lower is None


def test_clusters_are_cut_to_those_of_a_control_value(answers, policy):
    world, setting = answers([0] * 3, PAIRS)
    audit = world.groups.split == "audit"
    north = np.arange(len(audit)) % 2 == 0
    groups = replace(world.groups, conditions={"site=north": north})
    cut = Outcomes.pair(setting.predictions, setting.float_predictions, groups)
    trials = [f"trial-{k:02d}" for k in range(3)]
    scores = tally(cut)
    cells = build_cells(scores, policy, 0.05, groups.cluster_sizes)
    counts = collect_counts(scores, cells, trials, "audit")
    found = counts.by_cluster(cut, cells).clusters
    under = [i for i in found if cells.keys[i].shift == "site=north"]
    assert under
    for i in under:
        assert found[i].size.sum() == cells.n[i] == counts.n[i]
        assert (found[i].size > 0).all()
        assert found[i].net.sum(1).tolist() == (counts.lost - counts.gained)[:, i].tolist()


def test_the_headline_s_mean_drop_has_an_interval_that_knows_clusters(answers, policy):
    alone = judge(answers([20] * FIFTY, np.arange(1200)), policy).worst
    bursts = judge(answers([20] * FIFTY, PAIRS), policy).worst
    for worst in (alone, bursts):
        low, high = worst.mean_interval
        assert worst.drop_mean_over_draws == pytest.approx(0.04)
        assert low < 0.04 < high
    # The lost boots are neighbours, so in bursts they are fewer units.
    assert bursts.mean_interval[1] > alone.mean_interval[1]
