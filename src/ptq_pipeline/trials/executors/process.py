"""Trials in worker processes of this machine."""

import logging
import multiprocessing
import signal
import tempfile
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from ptq_pipeline.core.errors import InputError, PtqPipelineError
from ptq_pipeline.trials.description import DescribedWorkload, Files, describe, open_workload
from ptq_pipeline.trials.executors.base import MOST_LOSSES, Losses, answer, outcome_of
from ptq_pipeline.trials.trial import TrialOutcome, TrialSpec
from ptq_pipeline.trials.workload import Workload

log = logging.getLogger(__name__)

_SECONDS_TO_END = 5.0


@dataclass(frozen=True)
class ProcessExecutor:
    """Keeps some worker processes busy, and knows which trial each of them runs.

    A worker that dies is replaced; its trial is tried again and, when it takes down worker after
    worker, recorded as failed.

    Attributes:
        workers: number of processes. Each uses the runtime's threads: on 2 cores, two workers of
            one thread each.
    """

    workers: int = 2

    def map(
        self, workload: Workload, specs: Sequence[TrialSpec]
    ) -> Generator[TrialOutcome, None, None]:
        """Yield one outcome per spec, as they finish."""
        workload.collect(specs)
        with tempfile.TemporaryDirectory(prefix="ptq-trials-") as scratch:
            crew = _Crew(describe(workload, Path(scratch)), min(self.workers, len(specs)))
            try:
                yield from crew.run(specs)
            finally:
                crew.stop()


class _Worker:
    """One process, the connection to it, and the trial that it runs."""

    def __init__(self, described: DescribedWorkload) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, described, Path.cwd()), daemon=True
        )
        self.process.start()
        theirs.close()
        self.ready = False
        self.spec: TrialSpec | None = None

    def give(self, spec: TrialSpec) -> None:
        """Hand over the next trial; a worker that is gone is noticed at the next message."""
        self.spec = spec
        try:
            self.connection.send(spec)
        except OSError:
            log.debug("worker %s is gone", self.process.pid)


class _Crew:
    """The workers, and the trials that wait for one."""

    def __init__(self, described: DescribedWorkload, size: int) -> None:
        self.described = described
        self.workers = [_Worker(described) for _ in range(size)]
        self.waiting: deque[TrialSpec] = deque()
        self.losses, self.false_starts = Losses(), 0

    def run(self, specs: Sequence[TrialSpec]) -> Generator[TrialOutcome, None, None]:
        self.waiting.extend(specs)
        open_trials = len(specs)
        while open_trials:
            by_connection = {worker.connection: worker for worker in self.workers}
            for each in wait(list(by_connection)):
                assert isinstance(each, Connection)
                outcome = self._heard(by_connection[each])
                if outcome is not None:
                    open_trials -= 1
                    yield outcome
            for worker in self.workers:
                if worker.ready and worker.spec is None and self.waiting:
                    worker.give(self.waiting.popleft())

    def _heard(self, worker: _Worker) -> TrialOutcome | None:
        """Take a worker's message: why it cannot start or that it has, or what a trial gave."""
        spec, worker.spec = worker.spec, None
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            return self._lost(worker, spec)
        if spec is not None:
            return outcome_of(spec, message)
        if message:
            raise InputError(message)
        worker.ready = True
        return None

    def _lost(self, worker: _Worker, spec: TrialSpec | None) -> TrialOutcome | None:
        worker.process.join(_SECONDS_TO_END)
        reason = f"exit code {worker.process.exitcode}"
        log.warning("worker process %s died (%s)", worker.process.pid, reason)
        worker.connection.close()
        self.workers.remove(worker)
        outcome = None
        if spec is not None:
            outcome = self.losses.record(spec, reason)
            if outcome is None:
                self.waiting.appendleft(spec)
        else:
            self.false_starts += 1
            if self.false_starts >= MOST_LOSSES:
                raise InputError(
                    f"worker processes die before their first trial ({reason}); is there enough "
                    "memory for so many workers?"
                )
        self.workers.append(_Worker(self.described))
        return outcome

    def stop(self) -> None:
        for worker in self.workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(_SECONDS_TO_END)
            if worker.process.is_alive():
                worker.process.kill()


def _serve(connection: Connection, described: DescribedWorkload, root: Path) -> None:
    """Answer specs until the other end is closed; Ctrl-C is the caller's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        workload = open_workload(described, Files(root), ExitStack())
    except PtqPipelineError as error:
        connection.send(str(error))
        return
    connection.send("")
    while True:
        try:
            spec = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(answer(workload, spec))
