from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tests.trials.small_audit import gather, policy

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.tally import score
from ptq_pipeline.judgement.building import build_verdict
from ptq_pipeline.judgement.sampling import planned_share
from ptq_pipeline.judgement.stopping import Scope
from ptq_pipeline.pipelines.quantization.nodes import run_trials
from ptq_pipeline.pipelines.sampled.nodes import run_sampled_trials
from ptq_pipeline.trials.margins import float_margins
from ptq_pipeline.trials.sampling import SampledRun

DRAWS = 8
# The recipe at eight bits passes; that at two is refused long before its preset draws are made.
ASKED = {8: {"draws": DRAWS, "p0": 0.5}, 2: {"draws": 37, "p0": 0.1}}


@pytest.fixture(scope="module")
def study(data, model, tmp_path_factory):
    """Eight draws of the reference model, at eight bits and at two."""
    images, samples, sets, index = data
    index = index.head(DRAWS)
    sets = {
        name: SimpleNamespace(images=pixels, manifest=SimpleNamespace(size=len(pixels)))
        for name, pixels in list(sets.items())[:DRAWS]
    }

    def audited(bits):
        folder = tmp_path_factory.mktemp(f"w{bits}")
        audit, groups = gather((images, samples, sets, index), model, folder, bits)
        return (
            audit,
            groups,
            Scope.planned(index, groups, policy(**ASKED[bits], evaluation="sampled")),
        )

    return {bits: audited(bits) for bits in (8, 2)}, sets, index


def verdict_of(tables, groups, index, asked):
    trials, predictions, reference = tables
    scores = score(predictions, reference, groups, trials)
    return build_verdict(scores, trials, index, asked)[0]


@pytest.mark.parametrize(("bits", "result"), [(8, "PASS"), (2, "FAIL")])
def test_sampled_and_full_agree(study, bits, result):
    audits, sets, index = study
    audit, groups, scope = audits[bits]
    tables = run_sampled_trials(audit, sets, index, scope)
    trials = tables[0]
    sampled = verdict_of(tables, groups, index, scope.policy)
    whole = verdict_of(run_trials(audit, sets, index), groups, index, policy(**ASKED[bits]))
    assert sampled.recipe.result == whole.recipe.result == result
    assert sampled.candidate.result == whole.candidate.result == result
    assert set(trials.loc[trials["status"] == "done", "trial_id"]) == {
        *tables[1]["trial_id"].unique()
    }
    assert "sampled" not in whole.recipe.to_json()
    evidence = sampled.recipe.sampled
    assert evidence.draws == len(trials) - 2
    assert evidence.full_answers == 300 * len(trials)
    assert evidence.answers == trials["answers"].sum() < evidence.full_answers
    if result == "PASS":
        assert (trials["shown"] == "good").all()
        assert sampled.recipe.shown_good == DRAWS
        assert sampled.recipe.total_error_bound <= 0.05 + 1e-12
        assert "6 of the draws evaluated by a sample, with " in sampled.recipe.statement
        # What a plan says beforehand, for a recipe that loses nothing.
        planned = planned_share(groups, scope.policy, ["clean"])
        assert trials["answers"][2:].mean() / 300 == pytest.approx(planned, abs=0.1)
        assert sampled.recipe.alpha_image < whole.recipe.alpha_image
    else:
        assert sampled.recipe.failed_after_draws == len(trials) == 4
        # What was bad before is looked at first, and alone.
        classes = [n for (level, _), n in groups.sizes().items() if level == "class"]
        assert max(trials["answers"][2:]) <= max(classes) < 60


def test_answers_of_a_sample_are_those_of_the_full_trial_and_are_kept(study, monkeypatch):
    audits, sets, _ = study
    audit, _, scope = audits[8]
    pixels = {name: each.images for name, each in sets.items()}
    first = list(SampledRun(audit, scope).draws(pixels))
    assert [each.sampled for each in first] == [False] * 2 + [True] * (DRAWS - 2)
    runner = audit.runner()
    for each in first[2:]:
        looked_at = each.outcome.predictions["clean"] >= 0
        whole = runner.run(each.outcome.spec.calibration_set, *_of(sets, each), audit.evaluation)
        assert each.answers == looked_at.sum() < 300
        assert np.array_equal(
            each.outcome.predictions["clean"][looked_at], whole.predictions["clean"][looked_at]
        )
        # What is evaluated is part of what the trial is.
        assert each.outcome.spec.trial_id != whole.spec.trial_id
        full = replace(each.outcome.spec, sampled=None)
        assert full.trial_id == whole.spec.trial_id
        assert runner.store.get(each.outcome.spec) is not None
        runner.store.path(full).unlink()
    run = SampledRun(audit, scope)
    asked = {run.cells.identity(run.risky, np.array(cells, int)) for cells in ([], [0], [1])}
    assert len(asked) == 3
    monkeypatch.setattr("ptq_pipeline.trials.workload.Workload.predict", None)
    again = list(SampledRun(audit, scope).draws(pixels))
    assert [each.answers for each in again] == [each.answers for each in first]
    assert [each.state for each in again] == [each.state for each in first]


def _of(sets, draw):
    return (sets[draw.outcome.spec.calibration_set].images,)


def test_margins_come_with_the_answers_of_the_same_pass(study, tmp_path):
    audit, *_ = study[0][8]
    runner = audit.runner()
    margins = float_margins(audit, runner)
    answers = runner.store.get(runner.spec(None, audit.evaluation)).predictions
    logits = runner.workload.runtime.compile(runner.workload.prepared, None)(
        audit.model.preprocessing(np.asarray(audit.data.images[audit.evaluation.rows["clean"]]))
    )
    assert np.array_equal(answers["clean"], logits.argmax(1))
    largest = np.sort(logits, axis=1)
    assert margins["clean"] == pytest.approx(largest[:, -1] - largest[:, -2], abs=1e-2)


def test_a_draw_that_cannot_be_quantized_is_failed_and_no_other_is(study):
    audits, sets, index = study
    audit, groups, _ = audits[8]
    index = index.head(4).assign(set_id=["s0", "s1", "empty", "s2"])
    scope = Scope.planned(index, groups, policy(**ASKED[8], evaluation="sampled"))
    pixels = {name: sets[name].images for name in ("s0", "s1", "s2")}
    found = list(SampledRun(audit, scope).draws({**pixels, "empty": pixels["s0"][:0]}))
    assert [each.state for each in found] == ["good", "good", "failed", "good"]
    assert found[2].outcome.error and not found[2].answers


def test_a_policy_in_full_samples_nothing(study):
    audits, _, index = study
    audit, groups, _ = audits[8]
    scope = Scope.planned(index, groups, policy(DRAWS, 0.5))
    with pytest.raises(InputError, match="evaluation is 'sampled'; set it, or run the pipeline"):
        SampledRun(audit, scope)


@pytest.mark.parametrize("changed", [policy(DRAWS, 0.5), policy(DRAWS, 0.4, evaluation="sampled")])
def test_draws_that_were_asked_something_else_are_no_evidence(study, changed):
    audits, sets, index = study
    audit, groups, scope = audits[8]
    tables = run_sampled_trials(audit, sets, index, scope)
    with pytest.raises(InputError, match="sampled for other limits, groups, images or levels"):
        verdict_of(tables, groups, index, changed)
