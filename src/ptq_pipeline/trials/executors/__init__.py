"""Where trials run: in this process, in worker processes, or on a Dask cluster.

One seam, ``map(workload, specs) -> outcomes``; results are the same bit for bit whichever runs.
"""

from collections.abc import Mapping

from ptq_pipeline.trials.executors.base import Executor
from ptq_pipeline.trials.executors.dask_cluster import DaskExecutor
from ptq_pipeline.trials.executors.process import ProcessExecutor
from ptq_pipeline.trials.executors.serial import SerialExecutor

__all__ = [
    "DaskExecutor",
    "Executor",
    "ProcessExecutor",
    "SerialExecutor",
    "build_executor",
]


def build_executor(
    kind: str = "serial",
    workers: int | None = None,
    address: str | None = None,
    security: Mapping[str, str] | None = None,
    dashboard: bool = False,
) -> Executor:
    """Build an executor from its parameters.

    Args:
        kind: ``serial``, ``process`` or ``dask``.
        workers: worker processes of this machine; 2 when left out.
        address: of a Dask scheduler; None starts a cluster on this machine.
        security: files of the TLS credentials for that scheduler.
        dashboard: whether the cluster of this machine serves Dask's dashboard.
    """
    if kind == "process":
        return ProcessExecutor(workers or 2)
    if kind == "dask":
        return DaskExecutor(address, workers or 2, security=security, dashboard=dashboard)
    return SerialExecutor()
