import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.trials.executors import ProcessExecutor
from ptq_pipeline.trials.executors import process as module


def test_results_and_files_are_those_of_serial_whatever_the_number_of_workers(study, expected):
    for workers in (1, 2):
        got = study.predictions(f"process{workers}", ProcessExecutor(workers))
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    files = {
        name: {p.name: p.read_bytes() for p in (study.folder / name).rglob("*.safetensors")}
        for name in ("serial", "process1", "process2")
    }
    assert files["serial"] == files["process1"] == files["process2"]
    assert len(files["serial"]) == 5


def test_a_killed_worker_is_replaced_and_its_trial_run_again(study, expected, monkeypatch, caplog):
    give, killed = module._Worker.give, []

    def give_and_kill(worker, spec):
        if not killed:
            killed.append(spec)
            os.kill(worker.process.pid, signal.SIGKILL)
        give(worker, spec)

    monkeypatch.setattr(module._Worker, "give", give_and_kill)
    got = study.predictions("killed-process", ProcessExecutor(2))
    assert len(killed) == 1
    assert "died (exit code -9)" in caplog.text
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_trial_that_always_kills_its_worker_is_failed_and_the_others_are_done(study, monkeypatch):
    give = module._Worker.give

    def give_poison(worker, spec):
        if spec.calibration_set == "set1":
            os.kill(worker.process.pid, signal.SIGKILL)
        give(worker, spec)

    monkeypatch.setattr(module._Worker, "give", give_poison)
    runner = study.runner("poison", ProcessExecutor(1))
    outcomes = runner.run_all(study.requests[:3])
    assert [outcome.predictions is None for outcome in outcomes] == [False, True, False]
    assert "lost 3 times" in outcomes[1].error
    assert runner.store.get(outcomes[1].spec) is None


def test_data_that_changed_under_the_worker_is_refused(study, tmp_path, monkeypatch):
    runner = study.runner("changed", ProcessExecutor(1))
    describe = module.describe

    def wrong(workload, scratch):
        described = describe(workload, scratch)
        other = described.sets["set0"].model_copy(update={"sha256": "0" * 64})
        return described.model_copy(update={"sets": described.sets | {"set0": other}})

    monkeypatch.setattr(module, "describe", wrong)
    with pytest.raises(InputError, match="is not the one the study was started with"):
        runner.run_all(study.requests[:1])


def test_a_model_without_a_file_cannot_go_to_another_process(study):
    runner = study.runner("nofile", ProcessExecutor(1))
    runner.workload.model = replace(study.model, source=None)
    with pytest.raises(InputError, match="use the serial executor"):
        runner.run_all(study.requests[:1])


def test_an_unexpected_error_in_a_worker_is_a_failed_trial(study):
    wrong = replace(study.requests[0], set_id="wrong", images=study.images[:, :, :, :0])
    runner = study.runner("crash", ProcessExecutor(1))
    runner.workload.statistics_folder = None
    (outcome,) = runner.run_all([wrong])
    assert outcome.predictions is None and outcome.error


def test_stopping_early_leaves_no_process_and_keeps_what_is_done(study):
    runner = study.runner("early", ProcessExecutor(2))
    stream = runner._stream(study.requests, runner.executor)
    first = next(stream)
    stream.close()
    assert runner.store.get(first.spec) is not None
    deadline = time.monotonic() + 5
    while _children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _children()


def _children():
    import multiprocessing

    return multiprocessing.active_children()
