"""The worst judged group: the largest of uncorrected one-sided bounds."""

from dataclasses import replace

import numpy as np
import pytest

from ptq_pipeline.core.group_ids import CellKey
from ptq_pipeline.judgement.building import build_verdict
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.judging import cell_intervals
from ptq_pipeline.judgement.worst_bound import accuracy_bounds, cell_upper_bound, worst_groups

N = 400


def cells_of(groups):
    flags = np.ones(groups, bool)
    keys = tuple(CellKey("class", str(i), ("clean", "noise")[i % 2]) for i in range(groups))
    return Cells(keys, np.full(groups, N), np.full(groups, 0.05), flags, ~flags)


def counts_of(lost, gained, accuracy=0.9):
    lost, gained = np.atleast_2d(lost), np.atleast_2d(gained)
    names, n = tuple(f"t{i}" for i in range(len(lost))), np.full(lost.shape[1], N)
    return Counts(names, n, lost, gained, lost + gained, np.full(lost.shape[1], accuracy))


@pytest.mark.parametrize(("groups", "runs"), [(2, 400), (40, 120)])
def test_it_holds_as_often_as_it_says_and_no_correction_is_needed(groups, runs):
    rng = np.random.default_rng(groups)
    drop = np.linspace(0.0, 0.05, groups)
    right = np.linspace(0.8, 0.95, groups)
    held = lower = 0
    cells = cells_of(groups)
    for _ in range(runs):
        gained = rng.binomial(N, 0.01, groups)
        lost = rng.binomial(N - gained, (drop + 0.01) / 0.99)
        overall, *_ = worst_groups(cells, counts_of(lost, gained), 0.05)
        held += overall.drop >= drop.max()
        answered = rng.binomial(N, right)
        counts = counts_of(np.zeros(groups, int), np.zeros(groups, int))
        counts = replace(counts, float_accuracy=answered / N)
        lower += worst_groups(cells, counts, 0.05)[0].accuracy <= right.min()
    for found in (held, lower):
        assert found / runs >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / runs)


def test_cells_whose_bound_need_not_be_found_change_nothing():
    rng = np.random.default_rng(2)
    sizes = rng.choice([40, 133, 400, 900], 60)
    cells = replace(cells_of(60), n=sizes)
    for rate in (0.0, 0.03, 0.4):
        counts = counts_of(rng.binomial(sizes, rate), rng.binomial(sizes, 0.01))
        counts = replace(counts, n=sizes)
        overall, *shifts = worst_groups(cells, counts, 0.05)
        bounds = [cell_upper_bound(cells, counts, i, 0.05) for i in range(60)]
        for each in (overall, *shifts):
            here = [i for i, key in enumerate(cells.keys) if each.shift in (None, key.shift)]
            assert each.drop == pytest.approx(max(bounds[i] for i in here), abs=3e-5)
            assert bounds[cells.keys.index(each.drop_cell)] == pytest.approx(each.drop, abs=1e-9)


def test_it_is_tighter_than_intervals_that_hold_together():
    lost, gained = np.full(40, 4), np.full(40, 4)
    cells, counts = cells_of(40), counts_of(lost, gained)
    overall, *shifts = worst_groups(cells, counts, 0.05)
    assert overall.drop < 0.7 * cell_intervals(counts, cells, 0.05)[:, 1].max()
    assert [each.shift for each in shifts] == ["clean", "noise"]
    assert max(each.drop for each in shifts) == overall.drop
    assert min(each.accuracy for each in shifts) == overall.accuracy


def test_groups_that_are_not_judged_are_not_bounded():
    cells, counts = cells_of(4), counts_of([0, 0, 90, 0], [0] * 4)
    named = worst_groups(cells, counts, 0.05)[0]
    assert named.drop_cell == named.accuracy_cell == cells.keys[2]
    without = replace(cells, judged=np.array([True, True, False, True]))
    assert worst_groups(without, counts, 0.05)[0].drop < 0.02
    assert worst_groups(replace(cells, judged=np.zeros(4, bool)), counts, 0.05) == ()


def test_accuracies_of_all_trials_at_once_are_those_of_each():
    lost = np.array([[3, 0, 10], [0, 20, 0], [N * 9 // 10, 0, 0]])
    cells, counts = cells_of(3), counts_of(lost, np.zeros_like(lost))
    expected = [worst_groups(cells, counts.only([t]), 0.02)[0].accuracy for t in counts.trial_ids]
    assert accuracy_bounds(counts, cells, [0, 1, 2], 0.02) == pytest.approx(expected, abs=1e-8)


def test_a_verdict_bounds_candidate_and_recipe(build_world, policy):
    world = build_world([0, 1, 2, 1, 0] * 10)
    verdict, _ = build_verdict(world.scores, world.trials, world.index, policy)
    overall, clean, noise = verdict.candidate.worst_groups
    assert (overall.shift, clean.shift, noise.shift) == (None, "clean", "noise")
    assert overall.drop == max(clean.drop, noise.drop) < 0.02
    assert overall.accuracy > 0.98
    # The recipe speaks of nearly all draws: a draw's own bounds, at the level of its tests.
    assert verdict.tolerance.bound == max(verdict.tolerance.by_shift.values())
    assert 0.97 < verdict.tolerance.accuracy <= overall.accuracy
