"""What every executor offers, and what it does with a trial whose worker is lost."""

from collections import Counter
from collections.abc import Generator, Sequence
from typing import Protocol

from ptq_pipeline.trials.spec import TrialSpec
from ptq_pipeline.trials.workload import TrialOutcome, Workload

MOST_LOSSES = 3


class Executor(Protocol):
    """Runs trials somewhere."""

    def map(
        self, workload: Workload, specs: Sequence[TrialSpec]
    ) -> Generator[TrialOutcome, None, None]:
        """Yield one outcome per spec, as they finish.

        Closing the iterator early, also by an error or Ctrl-C in the caller, stops all workers.

        Args:
            workload: holds everything that the specs name.
            specs: trials, each one once.

        Raises:
            InputError: no worker can run the trials.
        """
        ...


class Losses:
    """Counts how often each trial took its worker down."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def record(self, spec: TrialSpec, reason: str) -> TrialOutcome | None:
        """Return the failed outcome when a trial was lost too often, or None to try it again."""
        self._counts[spec.trial_id] += 1
        if self._counts[spec.trial_id] < MOST_LOSSES:
            return None
        return TrialOutcome(
            spec, None, f"lost {MOST_LOSSES} times with the worker that ran it ({reason})"
        )
