import numpy as np
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.cells import Requirement, build_cells, collect_counts, needed_samples
from ptq_pipeline.judgement.judged_groups import unjudged_groups
from ptq_pipeline.judgement.policy import Policy


def test_needed_samples_is_where_zero_losses_suffice():
    n = needed_samples(0.05, 0.0451)
    assert 0.95**n <= 0.0451 < 0.95 ** (n - 1)


def test_judged_groups_follow_from_counts_and_the_strictest_limit(build_world, policy):
    world = build_world([0, 0])
    limits = policy.model_dump(by_alias=True)["limits"]
    # 500 audit samples per class, 250 per intersection.
    limits["average"] = {"points": 3.0, "shifts": {"noise": 0.5}}
    limits["class"] = {"points": 20.0, "shifts": {"noise": 0.5}}
    limits["intersection"] = {"points": 8.0, "min_size": 251}
    strict = Policy.model_validate({"limits": limits})
    cells = build_cells(world.scores, strict, 0.0451)
    judged = {
        level: set(cells.judged[cells.levels == level])
        for level in ("average", "class", "segment", "intersection")
    }
    assert judged == {
        "average": {True},
        "class": {False},
        "segment": {True},
        "intersection": {False},
    }
    unjudged = {(g.level, g.group): g for g in unjudged_groups(cells, strict, 0.0451)}
    assert unjudged["class", "boot"].needed_n == needed_samples(0.005, 0.0451)
    assert unjudged["intersection", "bag & tone=dark"].needed_n == 251


def test_unequal_clusters_that_show_too_little_need_more_images_than_there_are(policy):
    key, clusters = ("class", "boot"), np.array([1.0] * 150 + [8.0] * 30)
    assert needed_samples(0.05, 0.0451) < len(clusters)
    required = Requirement.of(policy, key, ["clean"], 0.0451, clusters)
    assert required.judged_from > clusters.sum()
    assert required.needed == 2 * clusters.sum()


def test_judged_groups_do_not_depend_on_outcomes(build_world, policy):
    one = build_cells(build_world([0, 0]).scores, policy, 0.0451)
    other = build_cells(build_world([300, 0]).scores, policy, 0.0451)
    assert np.array_equal(one.judged, other.judged)


def test_critical_group_without_any_score_is_listed(build_world, policy):
    critical = [{"level": "intersection", "group": "boot & size=small"}]
    named = Policy.model_validate({**policy.to_json(), "critical": critical})
    world = build_world([0, 0])
    cells = build_cells(world.scores, named, 0.0451)
    (group,) = unjudged_groups(cells, named, 0.0451)
    assert (group.group, group.n, group.critical) == ("boot & size=small", 0, True)


def test_counts_are_laid_out_by_trial_and_cell(build_world, policy):
    world = build_world([0, 40])
    cells = build_cells(world.scores, policy, 0.0451)
    counts = collect_counts(world.scores, cells, ["trial-01", "trial-00"], "audit")
    column = cells.keys.index(("class", "boot", "noise"))
    assert counts.lost[:, column].tolist() == [40, 0]
    assert counts.drop[0, column] == pytest.approx(40 / 500)
    assert counts.n[column] == cells.n[column] == 500


def test_a_trial_without_a_score_is_named(build_world, policy):
    world = build_world([0, 0])
    scores = world.scores[
        (world.scores["trial_id"] != "trial-01") | (world.scores["group"] != "bag")
    ]
    cells = build_cells(scores, policy, 0.0451)
    with pytest.raises(InputError, match="trial 'trial-01' has 0 samples of class 'bag'"):
        collect_counts(scores, cells, ["trial-00", "trial-01"], "audit")
