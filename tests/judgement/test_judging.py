"""Every group is tested for FAIL, and all tests together keep their error."""

from dataclasses import replace

import numpy as np
import pytest

from ptq_pipeline.core.group_ids import CellKey
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.judging import fail_family, judge
from ptq_pipeline.statistics.paired import shown_above

SMALL = (*range(1, 41), 60, 90, 133, 250, 800)


def cells_of(sizes, limit=0.04, judged=True, clusters=None):
    count, sizes = len(sizes), np.array(sizes, np.int64)
    flags = np.full(count, True)
    return Cells(
        tuple(CellKey("class", str(i), "clean") for i in range(count)),
        *(sizes, np.full(count, limit), flags & judged, ~flags),
        {("class", key): np.asarray(each, float) for key, each in (clusters or {}).items()},
    )


def counts_of(lost, gained, n):
    trials = tuple(f"t{i}" for i in range(len(lost)))
    return Counts(trials, n, lost, gained, lost + gained, np.ones(len(n)))


@pytest.mark.parametrize("gained", ["none", "few", "most"])
@pytest.mark.parametrize("sizes", [SMALL, (1,) * 60, (32,) * 30, (133, 800, 8000, 3, 7)])
def test_a_recipe_at_its_limit_in_every_group_is_refused_no_more_often_than_promised(sizes, gained):
    """Adversaries: every group loses exactly its limit, whatever the nuisance."""
    alpha, runs, limit = 0.05, 4000, 0.04
    cells = cells_of(sizes, limit, judged=False)
    p_gained = {"none": 0.0, "few": 0.02, "most": (1 - limit) / 2}[gained]
    rng = np.random.default_rng(len(sizes))
    won = rng.binomial(cells.n, p_gained, (runs, len(cells)))
    lost = rng.binomial(cells.n - won, min((p_gained + limit) / (1 - p_gained), 1.0))
    refused = judge(counts_of(lost, won, cells.n), cells, 0.016, alpha).shown_bad.mean()
    assert refused <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / runs)


@pytest.mark.parametrize("limit", [0.01, 0.04, 0.1, 0.3])
@pytest.mark.parametrize("level", [0.05, 0.01, 0.001])
def test_cells_left_out_could_not_be_shown_bad_by_losing_everything(limit, level):
    n = np.arange(1, 60)
    cells = cells_of(n, limit)
    # As many cells as it takes to bring the level of each down to this one.
    able = n * np.log((1 + limit) / 2) <= np.log(level)
    shown = shown_above(n, np.zeros_like(n), n, cells.limit, level)
    assert not np.any(shown & ~able)
    assert shown[able].mean() > 0.9


def test_groups_that_are_too_small_to_be_refused_cost_nothing():
    family = fail_family(cells_of((*(1,) * 100, 500, 500, 500)), 0.05)
    assert family.cells.tolist() == [100, 101, 102]
    assert family.level == pytest.approx(0.05 / 3)
    assert fail_family(cells_of((1, 2)), 0.05).cells.tolist() == []
    assert fail_family(cells_of(()), 0.05).size == 1


def test_a_group_that_is_too_small_to_pass_is_refused_when_it_loses(policy):
    """One of two classes has 32 images: 7 lost show more than 5 points, 6 just do not."""
    cells = cells_of((968, 32), 0.05)
    cells = replace(cells, judged=np.array([True, False]))
    lost = np.array([[0, 16], [0, 7], [0, 6]])
    counts = counts_of(lost, np.zeros_like(lost), cells.n)
    found = judge(counts, cells, policy.alpha, policy.alpha_fail)
    assert [found.result(True, row) for row in range(3)] == ["FAIL", "FAIL", "INCONCLUSIVE"]
    assert [found.status(row)[1] for row in range(3)] == ["shown_bad", "shown_bad", "not_judged"]


def test_clusters_that_lose_everything_are_refused_and_few_ones_cannot_be():
    cells = cells_of((60, 6), judged=False, clusters={"0": [2] * 30, "1": [3, 3]})
    family = fail_family(cells, 0.05)
    assert family.cells.tolist() == [0]
    unknown = replace(cells, clusters=dict.fromkeys(cells.clusters))
    assert fail_family(unknown, 0.05).cells.tolist() == []
