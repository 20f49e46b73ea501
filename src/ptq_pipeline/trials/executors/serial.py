"""Trials one after the other in this process."""

from collections.abc import Generator, Sequence

from ptq_pipeline.trials.spec import TrialSpec
from ptq_pipeline.trials.workload import TrialOutcome, Workload


class SerialExecutor:
    """Needs nothing and starts nothing."""

    def map(
        self, workload: Workload, specs: Sequence[TrialSpec]
    ) -> Generator[TrialOutcome, None, None]:
        """Yield one outcome per spec in their order."""
        for spec in specs:
            yield workload.run(spec)
