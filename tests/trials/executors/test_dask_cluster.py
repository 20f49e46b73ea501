import os
import signal
import socket
import time

import numpy as np
import pytest

from ptq_pipeline.errors import InputError
from ptq_pipeline.trials.executors import DaskExecutor
from ptq_pipeline.trials.executors import dask_cluster as module

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes and a scheduler that is reached by its address."""
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        silence_logs=50,
    ) as running:
        yield running


def same(got, expected):
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_workers_answer_as_serial_does(cluster, study, expected):
    same(study.predictions("dask", DaskExecutor(cluster.scheduler_address)), expected)


def test_a_killed_worker_costs_only_its_trial_in_flight(cluster, study, expected, monkeypatch):
    submit, victims = module._Study._submit, []

    def submit_and_kill(running, spec):
        submit(running, spec)
        if not victims:
            pids = running.client.run(os.getpid)
            victims.append(pids[sorted(running.crew.admitted)[0]])
            os.kill(victims[0], signal.SIGKILL)

    monkeypatch.setattr(module._Study, "_submit", submit_and_kill)
    same(study.predictions("killed", DaskExecutor(cluster.scheduler_address)), expected)
    assert victims


def test_a_worker_with_other_versions_is_refused_and_the_error_says_how(
    cluster, study, monkeypatch
):
    elsewhere = {**module.environment(), "torch": "1.0"}
    monkeypatch.setattr(module, "environment", lambda: elsewhere)
    executor = DaskExecutor(cluster.scheduler_address, patience=5)
    with pytest.raises(InputError, match=r"no worker that may take[\s\S]*torch is 2\S+ there"):
        study.predictions("versions", executor)


def test_a_worker_without_the_data_is_refused_by_the_name_of_the_file(cluster, study, monkeypatch):
    describe = module.describe

    def elsewhere(workload, scratch):
        description = describe(workload, scratch)
        description["key"] = "elsewhere"
        description["model"]["source"]["weights"] = "no/such/weights.safetensors"
        return description

    monkeypatch.setattr(module, "describe", elsewhere)
    with pytest.raises(InputError, match="no/such/weights.safetensors"):
        study.predictions("nodata", DaskExecutor(cluster.scheduler_address, patience=5))


def test_an_unreachable_scheduler_is_an_error_within_ten_seconds_that_names_it(study):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(InputError, match=address):
        study.predictions("nobody", DaskExecutor(address))
    assert time.monotonic() - started < 10


def test_a_scheduler_without_workers_is_an_error_with_the_command_to_start_one(study):
    with (
        distributed.LocalCluster(
            n_workers=0, host="127.0.0.1", dashboard_address=None, silence_logs=50
        ) as empty,
        pytest.raises(InputError, match="dask worker tcp://.* --nthreads 1"),
    ):
        study.predictions("idle", DaskExecutor(empty.scheduler_address, patience=0.5))
