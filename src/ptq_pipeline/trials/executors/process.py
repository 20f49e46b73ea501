"""Trials in worker processes of this machine."""

import logging
import multiprocessing
import signal
import tempfile
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from ptq_pipeline.core.errors import InputError, PtqPipelineError
from ptq_pipeline.trials.description import describe, open_workload
from ptq_pipeline.trials.executors.base import MOST_LOSSES, Losses
from ptq_pipeline.trials.executors.worker import answer, outcome_of
from ptq_pipeline.trials.spec import TrialSpec
from ptq_pipeline.trials.workload import TrialOutcome, Workload

log = logging.getLogger(__name__)

_SECONDS_TO_END = 5.0


class ProcessExecutor:
    """Keeps some worker processes busy, and knows which trial each of them runs.

    A worker that dies is replaced; its trial is tried again and, when it takes down worker after
    worker, recorded as failed.

    Args:
        workers: number of processes. Each uses the runtime's threads: on 2 cores, two workers of
            one thread each.
    """

    def __init__(self, workers: int = 2) -> None:
        self.workers = workers

    def map(
        self, workload: Workload, specs: Sequence[TrialSpec]
    ) -> Generator[TrialOutcome, None, None]:
        """Yield one outcome per spec, as they finish."""
        workload.collect(specs)
        with tempfile.TemporaryDirectory(prefix="ptq-trials-") as scratch:
            description = describe(workload, Path(scratch))
            crew = _Crew(description, min(self.workers, len(specs)))
            try:
                yield from _keep_busy(crew, specs)
            finally:
                crew.stop()


class _Worker:
    """One process, the connection to it, and the trial that it runs."""

    def __init__(self, description: Mapping[str, Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, dict(description), str(Path.cwd())), daemon=True
        )
        self.process.start()
        theirs.close()
        self.ready = False
        self.spec: TrialSpec | None = None

    def receive(self) -> tuple[str, Any]:
        """Return the next message, or ``("lost", why)``."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join(_SECONDS_TO_END)
            return "lost", f"exit code {self.process.exitcode}"

    def give(self, spec: TrialSpec) -> None:
        """Hand over the next trial; a worker that is gone is noticed at the next message."""
        self.spec = spec
        try:
            self.connection.send(spec.to_json())
        except OSError:
            log.debug("worker %s is gone", self.process.pid)


class _Crew:
    """The workers."""

    def __init__(self, description: Mapping[str, Any], size: int) -> None:
        self.description = description
        self.workers: list[_Worker] = []
        self.false_starts = 0
        for _ in range(size):
            self.hire()

    def hire(self) -> None:
        self.workers.append(_Worker(self.description))

    def dismiss(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.connection.close()
        worker.process.join(_SECONDS_TO_END)

    def messages(self) -> list[_Worker]:
        """Wait until some workers have something to say."""
        by_connection = {worker.connection: worker for worker in self.workers}
        ready = wait(list(by_connection))
        return [by_connection[each] for each in ready if isinstance(each, Connection)]

    def stop(self) -> None:
        for worker in self.workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(_SECONDS_TO_END)
            if worker.process.is_alive():
                worker.process.kill()


def _keep_busy(crew: _Crew, specs: Sequence[TrialSpec]) -> Generator[TrialOutcome, None, None]:
    waiting, losses, open_trials = deque(specs), Losses(), len(specs)
    while open_trials:
        for worker in crew.messages():
            kind, content = worker.receive()
            spec, worker.spec = worker.spec, None
            outcome = None
            if kind == "refused":
                raise InputError(content)
            if kind == "lost":
                crew.dismiss(worker)
                outcome = _after_loss(crew, worker, spec, str(content), losses, waiting)
                crew.hire()
            elif spec is None:
                worker.ready = True
            else:
                outcome = outcome_of(spec, kind, content)
            if outcome is not None:
                open_trials -= 1
                yield outcome
        for worker in crew.workers:
            if worker.ready and worker.spec is None and waiting:
                worker.give(waiting.popleft())


def _after_loss(
    crew: _Crew,
    worker: _Worker,
    spec: TrialSpec | None,
    reason: str,
    losses: Losses,
    waiting: deque[TrialSpec],
) -> TrialOutcome | None:
    log.warning("worker process %s died (%s)", worker.process.pid, reason)
    if spec is None:
        crew.false_starts += 1
        if crew.false_starts >= MOST_LOSSES:
            raise InputError(
                f"worker processes die before their first trial ({reason}); is there enough "
                "memory for so many workers?"
            )
        return None
    outcome = losses.record(spec, reason)
    if outcome is None:
        waiting.appendleft(spec)
    return outcome


def _serve(connection: Connection, description: dict[str, Any], root: str) -> None:
    """Answer specs until the other end is closed; Ctrl-C is the caller's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        workload = open_workload(description, Path(root))
    except PtqPipelineError as error:
        connection.send(("refused", str(error)))
        return
    connection.send(("ready", None))
    while True:
        try:
            spec = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(answer(workload, spec))
