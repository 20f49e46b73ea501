"""Trials on a Dask cluster: of this machine, or wherever a scheduler has workers."""

from __future__ import annotations

import logging
import platform
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptq_pipeline.core.errors import InputError, PtqPipelineError
from ptq_pipeline.core.inputs import local_path
from ptq_pipeline.core.provenance import cpu_flags, installed, source_hash
from ptq_pipeline.trials.description import DescribedWorkload, describe, open_workload
from ptq_pipeline.trials.executors.base import Losses, answer, outcome_of
from ptq_pipeline.trials.trial import TrialOutcome, TrialSpec
from ptq_pipeline.trials.workload import Workload

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster, Security

log = logging.getLogger(__name__)

CONNECT_SECONDS = 6.0
# How long to wait for a worker that may take trials before giving up.
PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.5
_ROUTES = ("distributed.scheduler.http.routes", "distributed.worker.http.routes")
# Trials in flight per worker: one runs, one waits, so that no worker is idle.
_PER_WORKER = 2
PACKAGES = ("ptq-pipeline", "numpy", "torch", "torchvision", "openvino", "onnxruntime")
# Parts of this package that decide what a trial answers.
DECIDING = ("ptq", "runtimes", "models", "trials")


@dataclass(frozen=True)
class DaskExecutor:
    """Submits trials to admitted workers and takes their results as they come.

    A worker is admitted when it runs the same code, versions and CPU flags as this process, with
    one thread, and has opened the study's data and found it equal. Workers may join and leave at
    any time.

    Whoever reaches a scheduler runs code on its workers, and a scheduler runs code here. So a
    cluster of this machine speaks TLS with credentials that live as long as it does, and shows
    nothing to others.

    Attributes:
        address: of the scheduler, like ``tls://10.0.0.1:8786``; None starts a cluster of processes
            on this machine.
        workers: processes of that local cluster; a given scheduler's workers are all used.
        patience: seconds to wait for a worker that may take trials.
        security: for a given scheduler the files ``ca_file``, ``cert`` and ``key`` of this client.
        dashboard: whether the local cluster serves Dask's dashboard, to every user of this machine.
    """

    address: str | None = None
    workers: int = 2
    patience: float = PATIENCE_SECONDS
    security: Mapping[str, str] | None = None
    dashboard: bool = False

    def map(
        self, workload: Workload, specs: Sequence[TrialSpec]
    ) -> Generator[TrialOutcome, None, None]:
        """Yield one outcome per spec, as they finish."""
        workload.collect(specs)
        with tempfile.TemporaryDirectory(prefix="ptq-trials-") as scratch:
            described = describe(workload, Path(scratch))
            with self._connected() as client:
                yield from _Study(client, described, self.patience).run(specs)

    @contextmanager
    def _connected(self) -> Iterator[Client]:
        try:
            import distributed
        except ImportError:
            raise InputError(
                "executor: kind 'dask' needs the extra: pip install 'ptq-pipeline[dask]'"
            ) from None
        if self.address is None:
            with (
                self._local_cluster() as cluster,
                distributed.Client(cluster, set_as_default=False) as client,
            ):
                yield client
            return
        security = self._credentials()
        try:
            client = distributed.Client(
                self.address, timeout=CONNECT_SECONDS, set_as_default=False, security=security
            )
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"executor: no Dask scheduler answers at '{self.address}' ({reason}); start one "
                "with 'dask scheduler', or check 'quantization.executor.address'"
            ) from None
        with client:
            yield client

    @contextmanager
    def _local_cluster(self) -> Iterator[LocalCluster]:
        import dask
        from distributed import LocalCluster, Security

        try:
            security = Security.temporary()
        except ImportError:
            raise InputError(
                "executor: a Dask cluster of this machine encrypts its connections and needs the "
                "package 'cryptography': pip install 'ptq-pipeline[dask]'"
            ) from None
        # Dask starts its HTTP servers in any case; without routes they have nothing to show.
        routes = {} if self.dashboard else dict.fromkeys(_ROUTES, [])
        served = {} if self.dashboard else {"dashboard_address": "127.0.0.1:0"}
        with (
            dask.config.set(routes),
            LocalCluster(
                n_workers=self.workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                protocol="tls",
                security=security,
                dashboard_address="127.0.0.1:8787" if self.dashboard else None,
                scheduler_kwargs=served,
                silence_logs=logging.CRITICAL,
            ) as cluster,
        ):
            if self.dashboard:
                log.info("dask dashboard: %s", cluster.dashboard_link)
            yield cluster

    def _credentials(self) -> Security | None:
        from distributed import Security

        if self.security is None:
            log.warning(
                "executor: the Dask scheduler at '%s' is reached without encryption: whoever can "
                "reach it, or stands between, runs code there and here; give "
                "'quantization.executor.security' (docs/scaling.md)",
                self.address,
            )
            return None
        for name, path in self.security.items():
            if not local_path(path, f"quantization.executor.security.{name}").is_file():
                raise InputError(
                    f"quantization.executor.security: the file '{path}' of '{name}' does not exist"
                )
        return Security(
            tls_ca_file=str(self.security["ca_file"]),
            tls_client_cert=str(self.security["cert"]),
            tls_client_key=str(self.security["key"]),
            require_encryption=True,
        )


class _Study:
    """The trials of one call of ``map``."""

    def __init__(self, client: Client, described: DescribedWorkload, patience: float) -> None:
        self.client = client
        self.address = client.scheduler.address
        self.described, self.key = described, described.hash
        self.patience = patience
        # Which workers of the scheduler may take trials, which may not, and which are being asked.
        self.admitted: set[str] = set()
        self.refused: dict[str, str] = {}
        self.opening: dict[str, Future] = {}
        # Each trial in flight, and the workers that it may run on.
        self.running: dict[Future, tuple[TrialSpec, frozenset[str]]] = {}
        self.losses = Losses()
        self.last_sign_of_life = time.monotonic()

    def run(self, specs: Sequence[TrialSpec]) -> Generator[TrialOutcome, None, None]:
        waiting = deque(specs)
        try:
            while waiting or self.running:
                if self.client.status != "running":
                    raise InputError(
                        f"executor: the Dask scheduler at '{self.address}' is gone; results so far "
                        "are kept, start it and run the same command again"
                    )
                self._look_after_workers(waiting)
                while waiting and len(self.running) < _PER_WORKER * len(self.admitted):
                    self._submit(waiting.popleft())
                for future in self._finished():
                    spec, _ = self.running.pop(future)
                    outcome = self._outcome(spec, future)
                    if outcome is None:
                        waiting.appendleft(spec)
                    else:
                        yield outcome
        finally:
            # What others run on the same scheduler is not touched.
            self.client.cancel([*self.running, *self.opening.values()])

    def _submit(self, spec: TrialSpec) -> None:
        allowed = frozenset(self.admitted)
        future = self.client.submit(
            _run_on_worker, self.key, spec, workers=sorted(allowed), pure=False
        )
        self.running[future] = (spec, allowed)

    def _look_after_workers(self, waiting: deque[TrialSpec]) -> None:
        known = self._update()
        if self.admitted or self.opening:
            self.last_sign_of_life = time.monotonic()
        for future, (spec, allowed) in list(self.running.items()):
            # A task runs only where it was allowed to run when it was submitted.
            if not future.done() and not allowed & known:
                del self.running[future]
                self.client.cancel([future])
                waiting.appendleft(spec)
        if self.admitted:
            return
        hopeless = known and known <= set(self.refused)
        if hopeless or time.monotonic() - self.last_sign_of_life > self.patience:
            raise InputError(self._no_worker())
        time.sleep(_POLL_SECONDS)

    def _no_worker(self) -> str:
        address = self.address
        tls = " and its --tls files" if address.startswith("tls://") else ""
        refused = "".join(f"\n  {each}: {why}" for each, why in self.refused.items())
        return (
            f"executor: the Dask scheduler at '{address}' has no worker that may take trials; "
            f"results so far are kept. Start workers with 'dask worker {address} --nthreads 1'"
            f"{tls} in the project's folder.{' Refused:' if refused else ''}{refused}"
        )

    def _finished(self) -> list[Future]:
        from distributed import wait

        if not self.running:
            return []
        try:
            with self.client.as_current():
                found = wait(list(self.running), _POLL_SECONDS, return_when="FIRST_COMPLETED")
        except TimeoutError:
            return []
        return list(found.done)

    def _outcome(self, spec: TrialSpec, future: Future) -> TrialOutcome | None:
        from distributed.scheduler import KilledWorker

        if future.status == "finished":
            answered = future.result()
            if answered is None:
                return self.losses.record(spec, "the worker was restarted")
            return outcome_of(spec, answered)
        reason = future.exception() if future.status == "error" else future.status
        if isinstance(reason, KilledWorker):
            # Dask itself has tried it on several workers.
            return TrialOutcome(spec, None, f"lost with the workers that ran it ({reason})")
        return self.losses.record(spec, f"{reason}")

    def _update(self) -> set[str]:
        """Look who is there, ask the new ones, and return the addresses of all."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        known = set(workers)
        for address in sorted(self.admitted - known):
            log.warning("dask worker %s is gone", address)
        self.admitted &= known
        self.opening = {k: v for k, v in self.opening.items() if k in known}
        for address in sorted(known - self.admitted - set(self.refused) - set(self.opening)):
            if workers[address]["nthreads"] != 1:
                self._refuse(address, "it runs several tasks at a time; start it with --nthreads 1")
                continue
            self.opening[address] = self.client.submit(
                _open_on_worker, self.key, self.described.to_json(), workers=[address], pure=False
            )
        for address, future in list(self.opening.items()):
            if future.done():
                del self.opening[address]
                self._judge(address, future)
        return known

    def _judge(self, address: str, future: Future) -> None:
        if future.status != "finished":
            problem = future.exception() if future.status == "error" else future.status
            self._refuse(address, f"it could not be asked ({type(problem).__name__}: {problem})")
            return
        found, error = future.result()
        reason = differences(environment(), found) or error
        if reason:
            self._refuse(address, reason)
        else:
            self.admitted.add(address)

    def _refuse(self, address: str, reason: str) -> None:
        self.refused[address] = reason
        log.warning("dask worker %s is refused: %s", address, reason)


# The workload that this worker process has open; studies come one after the other.
_OPENED: dict[str, Workload] = {}


def _open_on_worker(key: str, described: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Open a study's data and return this worker's environment, and why it cannot take part.

    The description comes as JSON, which every release can unpack: a worker of another one says so.
    """
    if key not in _OPENED:
        _OPENED.clear()
        try:
            _OPENED[key] = open_workload(DescribedWorkload.read(described))
        except PtqPipelineError as error:
            return environment(), str(error)
    return environment(), ""


def _run_on_worker(key: str, spec: TrialSpec) -> TrialOutcome | str | None:
    """Return what a trial gave; None where the study's data is not open any more."""
    return answer(_OPENED[key], spec) if key in _OPENED else None


@cache
def environment() -> dict[str, Any]:
    """Return what must be equal on all workers for equal results."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "machine": platform.machine(),
        "cpu_flags": cpu_flags(),
        "source code": source_hash(*DECIDING)[:16],
        **installed(PACKAGES),
    }


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return in words how a worker's environment differs, or ""."""
    return "; ".join(
        f"{key} is {found.get(key)} there and {expected.get(key)} here"
        for key in sorted({*expected, *found})
        if expected.get(key) != found.get(key)
    )
