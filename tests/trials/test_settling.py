import numpy as np
import pandas as pd
import pytest
from tests.trials.small_audit import gather, policy

from ptq_pipeline.core.tally import score
from ptq_pipeline.judgement.building import build_verdict
from ptq_pipeline.judgement.stopping import Scope, Study
from ptq_pipeline.trials import settling
from ptq_pipeline.trials.execution import TrialRequest
from ptq_pipeline.trials.settling import SettlingParameters, settle


def run(data, model, folder, bits, asked):
    _, _, sets, index = data
    audit, groups = gather(data, model, folder, bits)
    scope = Scope.planned(index, groups, asked)
    return audit, groups, settle(audit, scope, sets, SettlingParameters(chunk=25))


def full_verdict(data, audit, groups, asked):
    _, _, sets, index = data
    runner, evaluation = audit.runner(), audit.evaluation
    reference = runner.run(None, None, evaluation)
    outcomes = runner.run_all(TrialRequest(k, v, evaluation) for k, v in sets.items())
    trials = index.assign(trial_id=[o.spec.trial_id for o in outcomes], status="done")
    long = pd.concat(outcome.table(evaluation) for outcome in outcomes)
    scores = score(long, reference.table(evaluation), groups, trials)
    return build_verdict(scores, trials, index, asked)[0]


@pytest.mark.parametrize(
    ("bits", "draws", "p0", "result"), [(8, 6, 0.5, "PASS"), (2, 30, 0.1, "FAIL")]
)
def test_the_settled_verdict_is_that_of_the_full_audit_and_takes_less(
    data, model, tmp_path, bits, draws, p0, result
):
    images, samples, sets, index = data
    # One more than policy asks for, and what FAIL needs.
    kept = min(draws + 1, 9)
    data = images, samples, dict(list(sets.items())[:kept]), index.head(kept)
    asked = policy(draws, p0)
    audit, groups, settled = run(data, model, tmp_path, bits, asked)
    assert settled.result == result
    assert settled.images < settled.full_images
    assert full_verdict(data, audit, groups, asked).recipe.result == result
    if result == "FAIL":
        assert settled.failed_after_draws == len(settled.draws) == 4
    again = run(data, model, tmp_path, bits, asked)[2]
    assert again == settled
    assert result in settled.statement


def test_what_was_bad_in_the_draw_before_is_looked_at_first_and_alone(data, model, tmp_path):
    """Answers by hand: of the class 'a' every one is wrong, and of all others none."""
    index = data[3]
    asked, looks = policy(30, 0.1), SettlingParameters(chunk=25)
    audit, groups = gather(data, model, tmp_path, 2)
    evaluation = audit.evaluation.of("audit")
    labels = evaluation.samples["label"].to_numpy()
    reference = audit.float_reference(audit.runner())
    study = Study(Scope.planned(index, groups, asked), ["clean"], reference)
    shown = settling._Shown.of(study, evaluation, looks)
    right = settling._Known(evaluation, lambda _, positions: labels[positions])

    def look(suspects):
        wrong = np.where(labels == 0, 1, labels)
        answers = settling._Known(evaluation, lambda _, positions: wrong[positions])
        draw = settling._Draw(shown, answers, right)
        assert draw.settle(suspects) == "bad"
        return draw.bad_cells, draw.known.evaluated

    (cell,), both = look([])
    assert study.cells.keys[cell].of == ("class", "a")
    again, alone = look([cell])
    assert again == [cell]
    assert alone <= int(study.cells.n[cell]) < both
