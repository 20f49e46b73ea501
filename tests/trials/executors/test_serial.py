import threading

import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.trials.executors import SerialExecutor


def specs_of(runner, study):
    for each in study.requests:
        runner.workload.evaluations[each.evaluation.fingerprint] = each.evaluation
        runner.workload.sets[each.set_id] = each.images
    return [runner.spec(each.set_id, each.evaluation) for each in study.requests]


def test_the_next_trial_is_prepared_while_one_is_evaluated(study, tmp_path, monkeypatch):
    runner = study.runner(tmp_path)
    assert runner.workload.statistics is not None
    specs, prepare, prepared = specs_of(runner, study), runner.workload.prepare, {}
    events = {spec.trial_id: threading.Event() for spec in specs}

    def watched(spec):
        evaluate = prepare(spec)
        prepared[spec.trial_id] = threading.current_thread().name
        events[spec.trial_id].set()
        position = specs.index(spec)

        def evaluate_when_the_next_is_ready():
            if position + 1 < len(specs):
                assert events[specs[position + 1].trial_id].wait(60)
            return evaluate()

        return evaluate_when_the_next_is_ready

    monkeypatch.setattr(runner.workload, "prepare", watched)
    outcomes = list(SerialExecutor().map(runner.workload, specs))
    assert [outcome.spec for outcome in outcomes] == specs
    assert all(outcome.predictions for outcome in outcomes)
    first, *others = [prepared[spec.trial_id] for spec in specs]
    assert first == "MainThread"
    assert all(name.startswith("prepare") for name in others)


def test_an_error_of_preparation_is_raised_and_earlier_results_come_first(
    study, tmp_path, monkeypatch
):
    runner = study.runner(tmp_path)
    specs, prepare = specs_of(runner, study), runner.workload.prepare

    def full_disk(spec):
        if spec == specs[2]:
            raise InputError("no space")
        return prepare(spec)

    monkeypatch.setattr(runner.workload, "prepare", full_disk)
    found = []
    with pytest.raises(InputError, match="no space"):
        found.extend(SerialExecutor().map(runner.workload, specs))
    found = SerialExecutor().map(runner.workload, specs)
    assert [next(found).spec, next(found).spec] == specs[:2]
    found.close()
