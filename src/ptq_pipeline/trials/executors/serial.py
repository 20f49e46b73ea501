"""Trials one after the other in this process."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from ptq_pipeline.trials.spec import TrialSpec
from ptq_pipeline.trials.workload import TrialOutcome, Workload


class SerialExecutor:
    """Starts no process.

    While a trial is evaluated, the next one is quantized and compiled, unless that takes all cores
    itself: forward passes of its own, learning.
    """

    def map(
        self, workload: Workload, specs: Sequence[TrialSpec]
    ) -> Generator[TrialOutcome, None, None]:
        """Yield one outcome per spec in their order."""
        with ThreadPoolExecutor(1, thread_name_prefix="prepare") as thread:
            coming: Future[Callable[[], TrialOutcome]] | None = None
            for position, spec in enumerate(specs):
                evaluate = workload.prepare(spec) if coming is None else coming.result()
                following = specs[position + 1 : position + 2]
                coming = None
                if following and workload.is_quick(following[0]):
                    coming = thread.submit(workload.prepare, following[0])
                yield evaluate()
