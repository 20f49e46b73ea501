"""Where trials run: in this process, in worker processes, or on a Dask cluster.

One seam, ``map(workload, specs) -> outcomes``; results are the same bit for bit whichever runs.
"""

from ptq_pipeline.trials.executors.base import Executor, SerialExecutor
from ptq_pipeline.trials.executors.dask_cluster import DaskExecutor
from ptq_pipeline.trials.executors.process import ProcessExecutor

__all__ = ["DaskExecutor", "Executor", "ProcessExecutor", "SerialExecutor"]
