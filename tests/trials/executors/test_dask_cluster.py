import datetime
import errno
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from ptq_pipeline.commands.doctor import check_scheduler
from ptq_pipeline.core.errors import InputError, WriteError
from ptq_pipeline.core.file_cache import FOLDER_VARIABLE, LIMIT_VARIABLE
from ptq_pipeline.core.objects import ObjectFolder
from ptq_pipeline.project import Project
from ptq_pipeline.trials.executors import DaskExecutor, dask_cluster, dask_study, dask_worker
from ptq_pipeline.trials.executors.dask_worker import differences, environment
from ptq_pipeline.trials.recipe import ExecutorParameters
from ptq_pipeline.trials.workload import Workload

distributed = pytest.importorskip("distributed")

ENVIRONMENT = environment()
FILES = {"ca_file": "ca.pem", "cert": "cert.pem", "key": "key.pem"}


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


def free_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def connections(before):
    mine = [psutil.Process(), *psutil.Process().children(recursive=True)]
    found = {
        tuple(each.laddr)
        for process in mine
        for each in process.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN
    }
    return found - before


def test_a_local_cluster_lets_nobody_else_in(study, expected):
    before, seen = connections(set()), set()

    def refused(address, security=None):
        with pytest.raises((OSError, distributed.comm.core.CommClosedError, ValueError)):
            distributed.Client(address, timeout=1, set_as_default=False, security=security)

    executor = DaskExecutor(workers=1)
    with executor._connected() as client:
        scheduler = client.scheduler.address
        assert scheduler.startswith("tls://127.0.0.1:")
        (worker,) = client.scheduler_info()["workers"]
        assert worker.startswith("tls://127.0.0.1:")
        refused(scheduler.replace("tls://", "tcp://"))
        refused(scheduler, distributed.Security.temporary())
        for host, port in connections(before):
            assert host == "127.0.0.1"
            seen.add(port)
            for path in ("", "status", "info/main/workers.html", "json/counts.json", "metrics"):
                try:
                    answer = urllib.request.urlopen(f"http://{host}:{port}/{path}", timeout=2)
                    raise AssertionError(f"{port}/{path} shows {answer.read()[:100]}")
                except urllib.error.HTTPError as error:
                    assert error.code == 404
                except (OSError, http.client.HTTPException):
                    pass  # it speaks TLS
    assert len(seen) >= 3
    same(study.predictions("local", executor), expected)


def test_two_workers_answer_as_serial_does(cluster, study, expected):
    same(study.predictions("dask", DaskExecutor(cluster.scheduler_address)), expected)


def test_a_killed_worker_costs_only_its_trial_in_flight(cluster, study, expected, monkeypatch):
    submit, victims = dask_study.ClusterStudy._submit, []

    def submit_and_kill(running, spec):
        submit(running, spec)
        if not victims:
            pids = running.client.run(os.getpid)
            victims.append(pids[sorted(running.admitted)[0]])
            os.kill(victims[0], signal.SIGKILL)

    monkeypatch.setattr(dask_study.ClusterStudy, "_submit", submit_and_kill)
    same(study.predictions("killed", DaskExecutor(cluster.scheduler_address)), expected)
    assert victims


def test_a_worker_with_other_versions_is_refused_and_the_error_says_how(
    cluster, study, monkeypatch
):
    elsewhere = {**environment(), "torch": "1.0"}
    monkeypatch.setattr(dask_study, "environment", lambda: elsewhere)
    executor = DaskExecutor(cluster.scheduler_address, patience=5)
    with pytest.raises(InputError, match=r"no worker that may take[\s\S]*torch is 2\S+ there"):
        study.predictions("versions", executor)


def test_a_worker_without_the_data_is_refused_by_the_name_of_the_file(cluster, study, monkeypatch):
    describe = dask_cluster.describe

    def elsewhere(workload, scratch):
        described = describe(workload, scratch)
        weights = described.weights.model_copy(
            update={"file": "no/such/weights.safetensors", "sha256": "0" * 64}
        )
        return described.model_copy(update={"weights": weights})

    monkeypatch.setattr(dask_cluster, "describe", elsewhere)
    with pytest.raises(InputError, match="no/such/weights.safetensors"):
        study.predictions("nodata", DaskExecutor(cluster.scheduler_address, patience=5))


def set_variable(name, value):
    os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value


@pytest.fixture
def far_away(cluster, tmp_path, tmp_path_factory, monkeypatch):
    """All that the driver has is below its folder, where the workers are not; their cache."""
    base = tmp_path_factory.getbasetemp()
    monkeypatch.chdir(base)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cache = tmp_path / "cache"
    with distributed.Client(cluster, set_as_default=False) as client:
        client.run(set_variable, FOLDER_VARIABLE, str(cache))
        yield cache
        client.run(set_variable, FOLDER_VARIABLE, None)


def test_workers_that_share_no_folder_are_sent_each_file_once_a_host(
    cluster, far_away, study, expected, caplog
):
    caplog.set_level("INFO")
    executor = DaskExecutor(cluster.scheduler_address)
    same(study.predictions("sent", executor), expected)
    assert caplog.text.count(": sent ") == 1
    sent = {path.name for path in far_away.rglob("*") if path.is_file()}
    assert not list((far_away / "arriving").glob("*-*"))
    caplog.clear()
    cut = next(path for path in far_away.rglob("*.npy"))
    cut.write_bytes(cut.read_bytes()[:-1])
    same(study.predictions("sent again", executor), expected)
    assert ": sent 1 files" in caplog.text
    assert sent <= {path.name for path in far_away.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_workers_fetch_from_the_bucket_what_others_then_need_not_compute(
    cluster, far_away, bucket, study, expected, caplog
):
    caplog.set_level("INFO")
    objects = ObjectFolder(f"{bucket}/study")
    given = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    runner = study.runner("bucket", DaskExecutor(cluster.scheduler_address))
    runner.store.objects = runner.workload.objects = objects
    with distributed.Client(cluster, set_as_default=False) as client:
        for name, value in given.items():
            client.run(set_variable, name, value)
        try:
            outcomes = runner.run_all(study.requests)
        finally:
            for name in given:
                client.run(set_variable, name, None)
    same([outcome.predictions["clean"] for outcome in outcomes], expected)
    assert "to 's3://bucket/study'" in caplog.text and "dask worker" not in caplog.text
    fetched = {path.stem: path.stat().st_size for path in far_away.glob("??/*")}
    stored = {Path(each.name).stem: each.size for each in objects.names("files")}
    assert fetched and fetched == stored
    # Another host with this store has nothing to compute.
    other = study.runner("other host")
    other.store.objects = objects
    other.workload.run = None
    same([each.predictions["clean"] for each in other.run_all(study.requests)], expected)


def test_a_worker_whose_cache_is_too_small_says_so(cluster, far_away, study):
    with distributed.Client(cluster, set_as_default=False) as client:
        client.run(set_variable, LIMIT_VARIABLE, "1e-6")
        try:
            with pytest.raises(InputError, match=f"does not fit into the cache '{far_away}'"):
                study.predictions("small", DaskExecutor(cluster.scheduler_address, patience=5))
        finally:
            client.run(set_variable, LIMIT_VARIABLE, None)


def fill_the_disk():
    """Let every trial of this worker end as on a full disk."""

    def prepare(workload, spec):
        raise WriteError("/scratch/rows", OSError(errno.ENOSPC, "No space left on device"))

    Workload.whole_prepare = Workload.prepare
    Workload.prepare = prepare


def empty_the_disk():
    Workload.prepare = Workload.whole_prepare


def test_a_worker_whose_disk_is_full_is_left_out_and_others_run_its_trials(
    cluster, study, expected, caplog
):
    executor = DaskExecutor(cluster.scheduler_address, patience=5)
    with distributed.Client(cluster, set_as_default=False) as client:
        first, second = sorted(client.scheduler_info()["workers"])
        client.run(fill_the_disk, workers=[first])
        try:
            same(study.predictions("one disk", executor), expected)
            assert f"dask worker {first} was left out after a while: '/scratch/rows'" in caplog.text
            client.run(fill_the_disk, workers=[second])
            with pytest.raises(
                InputError, match=rf"no worker that[\s\S]*{second}: '/scratch/rows'"
            ):
                study.predictions("no disk", executor)
            client.run(empty_the_disk, workers=[second])
        finally:
            client.run(empty_the_disk, workers=[first])


@pytest.mark.slow
def test_a_scheduler_that_is_killed_is_one_sentence_and_results_are_kept(study, tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    scheduler = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)])
    address = f"tcp://127.0.0.1:{port}"
    worker = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"],
        cwd=tmp_path,
    )
    try:
        answering = time.monotonic() + 60
        while time.monotonic() < answering:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.2)
        runner = study.runner("killed scheduler", DaskExecutor(address))
        stream = runner._stream(study.requests, runner.executor)
        first = next(stream)
        scheduler.kill()
        with pytest.raises(InputError, match=f"scheduler at '{address}' is gone; results so far"):
            list(stream)
        assert runner.store.get(first.spec) is not None
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()


def test_a_worker_of_another_release_is_refused_by_its_versions():
    """What it cannot read does not hide why: its environment is answered all the same."""
    found = dask_worker.open_on_worker("other", {"made_by": "another release"})
    assert found.environment == environment()
    assert "incomplete or damaged" in found.error


def test_an_unreachable_scheduler_is_an_error_within_ten_seconds_that_names_it(study):
    address = f"tcp://127.0.0.1:{free_port()}"
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


def credentials(folder):
    """Write PEM files of an authority that has signed one certificate, for all."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "audit")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    names = {"ca_file": "cert.pem", "cert": "cert.pem", "key": "key.pem"}
    return {name: str(folder / file) for name, file in names.items()}


def test_a_scheduler_with_credentials_of_its_own(tmp_path, study, expected, caplog):
    files = credentials(tmp_path)
    roles = {
        f"tls_{role}_{part}": files[part]
        for role in ("scheduler", "worker", "client")
        for part in ("cert", "key")
    }
    security = distributed.Security(tls_ca_file=files["ca_file"], require_encryption=True, **roles)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", protocol="tls", security=security,
        dashboard_address=None, silence_logs=50,
    ) as running:  # fmt: skip
        address = running.scheduler_address
        executor = DaskExecutor(address, security=files)
        same(study.predictions("remote", executor), expected)
        assert "without encryption" not in caplog.text
        missing = DaskExecutor(address, security=files | {"key": "none.pem"})
        with pytest.raises(InputError, match=r"the file 'none\.pem' of 'key' does not exist"):
            study.predictions("missing", missing)


def test_a_scheduler_without_encryption_is_warned_of(cluster, study, caplog):
    study.predictions("plain", DaskExecutor(cluster.scheduler_address))
    assert "reached without encryption" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"address": "tls://h:1"}, "'security' goes with an address that begins with tls://"),
        ({"address": "tcp://h:1", "security": FILES}, "'security' goes with"),
        ({"security": FILES}, "'security' goes with"),
        ({"address": "tcp://h:1", "dashboard": True}, "'dashboard' is for kind 'dask' without"),
        ({"kind": "process", "dashboard": True}, "'dashboard' is for kind 'dask'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ExecutorParameters(**{"kind": "dask"} | settings)
    assert ExecutorParameters(kind="dask", address="tls://h:1", security=FILES).security


def test_environment_tells_code_versions_and_processor():
    found = environment()
    assert found["torch"].startswith("2.")
    assert found["cpu_flags"]
    assert len(found["source code"]) == 16


def test_each_worker_tells_what_it_is_and_would_be_refused_for(cluster, monkeypatch):
    executor = DaskExecutor(cluster.scheduler_address)
    found = executor.survey(patience=60)
    assert len(found) == 2
    for machine, refused in found.values():
        assert (machine.environment, refused) == (ENVIRONMENT, "")
        assert machine.host == socket.gethostname()
        assert machine.limit == 20e9 and machine.free > 0
    elsewhere = {**environment(), "torch": "1.0"}
    monkeypatch.setattr(dask_cluster, "environment", lambda: elsewhere)
    found = executor.survey(patience=60)
    assert all(re.match(r"torch is 2\S+ there and 1.0 here", why) for _, why in found.values())


def test_the_doctor_says_it_of_each_worker(cluster, project):
    here = Project(project, None, {"parameters": {"quantization": {}}})
    topics = [each.topic for each in check_scheduler(cluster.scheduler_address, here)]
    assert topics == ["worker", "worker"]
    (finding,) = check_scheduler(f"tcp://127.0.0.1:{free_port()}", here)
    assert (finding.status, finding.topic) == ("fail", "scheduler")
    assert "no Dask scheduler answers" in finding.text
    (finding,) = check_scheduler("tls://h:1", here)
    assert "'security' goes with an address" in finding.text


def test_differences_name_what_differs():
    assert differences(environment(), environment()) == ""
    text = differences({"torch": "2", "numpy": "1"}, {"torch": "3", "numpy": "1"})
    assert text == "torch is 3 there and 2 here"
