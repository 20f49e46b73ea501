import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.images.source import content_hashes
from ptq_pipeline.ptq import MethodSpec, method_from_json
from ptq_pipeline.runtimes import build_runtime
from ptq_pipeline.trials.evaluation import build_evaluation
from ptq_pipeline.trials.execution import TrialRunner
from ptq_pipeline.trials.executors.base import answer, outcome_of
from ptq_pipeline.trials.trial import TrialStore
from ptq_pipeline.trials.workload import Workload

SHAPE = (1, 12, 12)
SHIFTS = {"clean": {}, "dark": {"kind": "made up"}}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (40, *SHAPE), dtype=np.uint8)


@pytest.fixture(scope="module")
def samples(images):
    return pd.DataFrame(
        {
            "sample_id": range(40),
            "content_hash": content_hashes(images),
            "label": np.arange(40) % 3,
            "split": ["audit", "pool", "selection", "reference"] * 10,
        }
    ).sample(frac=1, random_state=0)


@pytest.fixture(scope="module")
def evaluation(samples, images):
    dark = images[AuditData(samples, images).evaluated["sample_id"].to_numpy()] // 2
    return build_evaluation(AuditData(samples, images), {"dark": dark}, SHIFTS)


def runner_of(model, method, store):
    runtime, folder = build_runtime("simulated"), store.statistics
    workload = Workload(model, runtime, SHAPE, batch_size=7, statistics_folder=folder)
    return TrialRunner(workload, method, store, SHIFTS)


@pytest.fixture
def runner(random_model, tmp_path):
    return runner_of(random_model, MethodSpec(4, 4), TrialStore(tmp_path / "trials"))


def direct(random_model, images):
    with torch.inference_mode():
        return (
            random_model.module(torch.from_numpy(random_model.preprocessing(images)))
            .argmax(1)
            .numpy()
        )


def test_evaluation_holds_the_judged_samples_in_order(evaluation, images):
    assert evaluation.samples["sample_id"].tolist() == list(range(0, 40, 2))
    np.testing.assert_array_equal(evaluation.arrays["clean"][evaluation.rows["clean"]], images[::2])
    np.testing.assert_array_equal(
        evaluation.arrays["dark"][evaluation.rows["dark"]], images[::2] // 2
    )
    audit = evaluation.only((evaluation.samples["split"] == "audit").to_numpy())
    assert audit.samples["sample_id"].tolist() == list(range(0, 40, 4))
    assert audit.fingerprint != evaluation.fingerprint


def test_the_float_model_is_a_trial_too(runner, random_model, images, evaluation):
    outcome = runner.run(None, None, evaluation)
    np.testing.assert_array_equal(outcome.predictions["clean"], direct(random_model, images[::2]))
    np.testing.assert_array_equal(
        outcome.predictions["dark"], direct(random_model, images[::2] // 2)
    )


def test_results_are_kept_and_used_again(runner, random_model, images, evaluation, monkeypatch):
    first = runner.run("set", images[1::2], evaluation)
    again = runner_of(random_model, runner.method, runner.store)
    monkeypatch.setattr(again.workload, "run", None)
    second = again.run("set", images[1::2], evaluation)
    assert first.spec == second.spec
    for name, values in first.predictions.items():
        np.testing.assert_array_equal(values, second.predictions[name])


def test_fallbacks_stand_in_the_record_of_the_trial(runner, random_model, images, evaluation):
    method = method_from_json(
        {"name": "adaround", "iterations": 1, "rounding_lr": 50.0, "batch_size": 8}
    )
    runner = runner_of(random_model, method, runner.store)
    outcome = runner.run("set", images[1::2], evaluation)
    assert outcome.notes
    assert all("nearest rounding kept, because its error" in note for note in outcome.notes)
    # Taken from the store, and sent by a worker, they are the same.
    assert runner.run("set", images[1::2], evaluation).notes == outcome.notes
    sent = pickle.loads(pickle.dumps(answer(runner.workload, outcome.spec)))
    assert outcome_of(outcome.spec, sent).notes == outcome.notes


def test_batches_and_selection_do_not_change_predictions(runner, images, evaluation):
    whole = runner.run("set", images[1::2], evaluation)
    keep = (evaluation.samples["split"] == "selection").to_numpy()
    part = runner.run("set", images[1::2], evaluation.only(keep, ["dark"]))
    assert list(part.predictions) == ["dark"]
    np.testing.assert_array_equal(part.predictions["dark"], whole.predictions["dark"][keep])


def test_a_refused_quantization_is_a_failed_trial_and_is_not_kept(runner, images, evaluation):
    outcome = runner.run("empty", images[:0], evaluation)
    assert outcome.predictions is None
    assert outcome.error
    assert runner.store.get(outcome.spec) is None


def test_other_errors_are_not_swallowed(runner, images, evaluation):
    with pytest.raises((TypeError, ValueError, RuntimeError, IndexError)):
        runner.run("wrong", images[:, :, :, :0], evaluation)
