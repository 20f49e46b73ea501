"""What every executor offers, what workers answer, and trials in this process."""

import traceback
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from ptq_pipeline.core.errors import InputError, PtqPipelineError, first_line
from ptq_pipeline.trials.trial import TrialOutcome, TrialSpec
from ptq_pipeline.trials.workload import Workload

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


class SerialExecutor:
    """Runs trials one after the other in this process.

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


@dataclass(frozen=True)
class Trouble:
    """What went wrong in a worker beside its trial.

    Attributes:
        said: the error in one line.
        traceback: where it arose.
        of_the_worker: whether it is that machine's disk or memory, which another one may have.
    """

    said: str
    traceback: str
    of_the_worker: bool


def answer(workload: Workload, spec: TrialSpec) -> TrialOutcome | Trouble:
    """Run one trial in a worker, or say what went wrong beside the trial."""
    try:
        return workload.run(spec)
    except Exception as error:  # noqa: BLE001 - it is told to whoever asked
        ours = isinstance(error, PtqPipelineError)
        said = str(error) if ours else f"{type(error).__name__}: {first_line(error)}"
        return Trouble(said, traceback.format_exc(), isinstance(error, OSError | MemoryError))


def outcome_of(spec: TrialSpec, answered: TrialOutcome | Trouble) -> TrialOutcome:
    """Return the outcome that a worker answered.

    Raises:
        InputError: something went wrong beside the trial.
    """
    if isinstance(answered, TrialOutcome):
        return answered
    raise InputError(
        f"a worker could not run trial {spec.trial_id}: {answered.said}\n\n"
        f"The worker's traceback:\n{answered.traceback}"
    )
