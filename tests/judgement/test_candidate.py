import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from ptq_pipeline.judgement.building import build_verdict
from ptq_pipeline.judgement.candidate import Choice, choose_candidate, judge_candidate
from ptq_pipeline.judgement.cells import build_cells, collect_counts


@pytest.fixture
def laid_out(build_world, policy):
    def lay_out(lost):
        world = build_world(lost)
        cells = build_cells(world.scores, policy, 0.0451)
        trials = world.trials["trial_id"].tolist()
        counts = [
            collect_counts(world.scores, cells, trials, split) for split in ("selection", "audit")
        ]
        return cells, *counts

    return lay_out


def test_chosen_by_the_smallest_worst_ratio_on_selection(laid_out):
    cells, selection, _ = laid_out([40, 10, 20])
    choice = choose_candidate(selection, cells)
    assert choice.trial_id == "trial-01"
    # 2 of 200 samples: 1 point of 3; 1 of 50 dark boots: 2 of 8; 2 of 100 boots: 2 of 5, the worst.
    assert choice.score == pytest.approx(0.4)


def test_ties_go_to_the_smaller_mean_and_then_to_the_earlier_draw(laid_out):
    cells, selection, _ = laid_out([10, 10, 40])
    assert choose_candidate(selection, cells).trial_id == "trial-00"
    # The same worst cell, and one more answer lost elsewhere.
    other = int(np.flatnonzero(cells.judged & (selection.lost[0] == 0))[0])
    lost = selection.lost.copy()
    lost[0, other] += 1
    assert choose_candidate(replace(selection, lost=lost), cells).trial_id == "trial-01"


def test_names_of_trials_hold_the_machine_and_choose_nothing(build_world, policy):
    """Another runtime description, other ids: the same draws, candidate and figures."""
    world = build_world([4, 4, 9, 4, 6] * 10)
    ids = {name: hashlib.sha256(name.encode()).hexdigest() for name in world.trials["trial_id"]}
    assert sorted(ids.values()) != list(ids.values())
    found = []
    for named in ({name: name for name in ids}, ids):
        trials = world.trials.assign(trial_id=world.trials["trial_id"].map(named))
        scores = world.scores.assign(trial_id=world.scores["trial_id"].astype(str).map(named))
        text = json.dumps(build_verdict(scores, trials, world.index, policy)[0].to_json())
        for old, new in named.items():
            text = text.replace(new, old)
        found.append(text)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("lost", "result", "status"),
    [(0, "PASS", "shown_good"), (22, "INCONCLUSIVE", "open"), (120, "FAIL", "shown_bad")],
)
def test_results(laid_out, policy, lost, result, status):
    cells, _, audit = laid_out([lost])
    outcome = judge_candidate(audit, cells, Choice("trial-00", 0.0), policy, blocked=False)
    cell = cells.keys.index(("class", "boot", "noise"))
    assert (outcome.result, outcome.status[cell]) == (result, status)


def test_unjudged_critical_group_blocks_pass_only(laid_out, policy):
    cells, _, audit = laid_out([0, 120])
    first, second = Choice("trial-00", 0.0), Choice("trial-01", 0.0)
    assert judge_candidate(audit, cells, first, policy, True).result == "INCONCLUSIVE"
    assert judge_candidate(audit, cells, second, policy, True).result == "FAIL"
