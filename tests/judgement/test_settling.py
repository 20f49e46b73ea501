from dataclasses import replace

import numpy as np
import pytest

from ptq_pipeline.core.group_ids import CellKey
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.judging import judge
from ptq_pipeline.judgement.settling import DrawTracker, SettlingLevels, total_bounds
from ptq_pipeline.statistics.anytime import fail_budget


def cells_of(sizes, limit):
    count = len(sizes)
    flags = np.ones(count, bool)
    return Cells(
        tuple(CellKey("class", str(i), "clean") for i in range(count)),
        np.array(sizes, np.int64),
        *(np.full(count, limit), flags, ~flags),
    )


@pytest.mark.parametrize(("hits", "total"), [(0, 50), (3, 50), (40, 300), (299, 300)])
def test_all_images_leave_one_total_and_none_leave_all(hits, total):
    low, high = total_bounds([hits, 0], [total, 0], [total, total], 1e-3)
    assert (low[0], high[0]) == (hits, hits)
    assert (low[1], high[1]) == (0, total)


def test_bounds_shrink_and_stay_possible():
    low, high = total_bounds([2, 4, 8], [100, 200, 400], [800] * 3, 1e-4)
    assert np.all(np.diff(high) < 0)
    assert np.all(low >= [2, 4, 8])
    assert np.all(high <= np.array([2, 4, 8]) + 800 - np.array([100, 200, 400]))


@pytest.mark.parametrize("true", [0, 4, 30, 200])
def test_the_true_total_is_ever_outside_no_more_often_than_promised(true):
    total, delta, runs = 250, 0.05, 400
    rng = np.random.default_rng(true)
    population = np.arange(total) < true
    orders = np.stack([rng.permutation(population) for _ in range(runs)])
    hits = np.cumsum(orders, axis=1)
    ever = np.zeros(runs, bool)
    for seen in range(1, total + 1):
        low, high = total_bounds(
            hits[:, seen - 1], np.full(runs, seen), np.full(runs, total), delta
        )
        ever |= (true < low) | (true > high)
    # Three standard errors of a share of delta.
    assert ever.mean() <= delta + 3 * np.sqrt(delta * (1 - delta) / runs)


@pytest.mark.parametrize("drop", [0.0, 0.03, 0.06, 0.2])
def test_what_is_settled_early_is_what_all_images_show(drop):
    rng = np.random.default_rng(round(100 * drop))
    cells, budget = cells_of([120, 250, 400], 0.06), fail_budget(0.1, 0.05, 50)
    levels = SettlingLevels.of(0.0451, budget.alpha_images, 0.001, 50, cells)
    early = 0
    for _ in range(60):
        lost = [rng.random(n) < drop + 0.01 for n in cells.n]
        gained = [~one & (rng.random(len(one)) < 0.01) for one in lost]
        tracker, seen = DrawTracker(cells, levels), np.zeros(3, np.int64)
        while tracker.state == "running":
            end = np.minimum(seen + 20, cells.n)
            parts = [
                [int(x[a:b].sum()) for x, a, b in zip(which, seen, end, strict=True)]
                for which in (lost, gained)
            ]
            tracker.update(end - seen, np.array(parts[0]), np.array(parts[1]))
            seen = end
        early += bool((seen < cells.n).any())
        totals = [np.array([[int(x.sum()) for x in w]]) for w in (lost, gained)]
        counts = Counts(("t",), cells.n, *totals, totals[0], np.ones(3))
        shown = judge(counts, cells, 0.0451, budget.alpha_images)
        full = "bad" if shown.shown_bad.any() else "good" if shown.shown_good.all() else "open"
        assert tracker.state == full
    if drop in (0.0, 0.2):
        assert early >= 50


def test_nothing_judged_is_never_good():
    cells = cells_of([100], 0.05)
    unjudged = replace(cells, judged=~cells.judged)
    levels = SettlingLevels.of(0.0451, 0.0226, 0.001, 50, unjudged)
    tracker = DrawTracker(unjudged, levels)
    assert tracker.state == "running", "a group that is not judged is looked at for FAIL"
    tracker.update(*(np.array([each]) for each in (100, 0, 0)))
    assert tracker.state == "open"
