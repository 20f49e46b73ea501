"""Trials on a Dask cluster: of this machine, or wherever a scheduler has workers."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ptq_pipeline.core.errors import InputError, first_line
from ptq_pipeline.core.inputs import local_path
from ptq_pipeline.trials.description import describe, publish
from ptq_pipeline.trials.executors.dask_study import PATIENCE_SECONDS, SEVERAL, ClusterStudy
from ptq_pipeline.trials.executors.dask_worker import (
    Machine,
    about_worker,
    differences,
    environment,
)
from ptq_pipeline.trials.trial import TrialOutcome, TrialSpec
from ptq_pipeline.trials.workload import Workload

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster, Security

log = logging.getLogger(__name__)

CONNECT_SECONDS = 6.0
_ROUTES = ("distributed.scheduler.http.routes", "distributed.worker.http.routes")


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
            if self.address is not None and workload.objects is not None:
                described = publish(described, workload.objects)
            with self._connected() as client:
                yield from ClusterStudy(client, described, self.patience).run(specs)

    def survey(self, patience: float = CONNECT_SECONDS) -> dict[str, tuple[Machine | None, str]]:
        """Ask each worker of the scheduler what it is; return that and why it would be refused.

        Args:
            patience: seconds to wait for a worker, which may be busy with a trial.

        Raises:
            InputError: no scheduler answers.
        """
        with self._connected() as client:
            workers = client.scheduler_info(n_workers=-1)["workers"]
            asked = {
                address: client.submit(about_worker, workers=[address], pure=False)
                for address in sorted(workers)
            }
            return {
                address: _surveyed(future, patience, workers[address]["nthreads"])
                for address, future in asked.items()
            }

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
            raise InputError(
                f"executor: no Dask scheduler answers at '{self.address}' ({first_line(error)}); "
                "start one with 'dask scheduler', or check 'quantization.executor.address'"
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
                "reach it, or is in between, runs code there and here; give "
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


def _surveyed(future: Future, patience: float, threads: int) -> tuple[Machine | None, str]:
    try:
        machine = future.result(timeout=patience)
    except TimeoutError:
        future.cancel()
        return None, f"it does not answer within {patience:g} seconds; it may be at a trial"
    except Exception as error:  # noqa: BLE001 - a worker of another release answers with anything
        return None, f"it could not be asked ({type(error).__name__}: {error})"
    several = SEVERAL if threads != 1 else ""
    return machine, several or differences(environment(), machine.environment) or machine.problem
