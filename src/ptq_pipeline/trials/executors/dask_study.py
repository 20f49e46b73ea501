"""The trials of one study on a Dask cluster: who may take them, and what became of them."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.trials.description import DescribedWorkload
from ptq_pipeline.trials.executors.base import Losses, Trouble, outcome_of
from ptq_pipeline.trials.executors.dask_sender import Sender
from ptq_pipeline.trials.executors.dask_worker import (
    differences,
    environment,
    open_on_worker,
    run_on_worker,
)
from ptq_pipeline.trials.trial import TrialOutcome, TrialSpec

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)

SEVERAL = "it runs several tasks at a time; start it with --nthreads 1"
# How long to wait for a worker that may take trials before giving up.
PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.5
# Trials in flight per worker: one runs, one waits, so that no worker is idle.
_PER_WORKER = 2


class ClusterStudy:
    """The trials of one call of ``map``."""

    def __init__(self, client: Client, described: DescribedWorkload, patience: float) -> None:
        self.client = client
        self.address = client.scheduler.address
        self.described, self.key = described, described.hash
        self.patience = patience
        # Which workers of the scheduler may take trials, which may not, and which are being asked.
        self.admitted: set[str] = set()
        self.refused: dict[str, str] = {}
        # Workers that took trials until their own disk or memory failed them.
        self.troubled: dict[str, str] = {}
        self.opening: dict[str, Future] = {}
        self.sender = Sender(client, described)
        # Each trial in flight, and the workers that it may run on.
        self.running: dict[Future, tuple[TrialSpec, frozenset[str]]] = {}
        self.losses = Losses()
        self.last_sign_of_life = time.monotonic()

    def run(self, specs: Sequence[TrialSpec]) -> Generator[TrialOutcome, None, None]:
        """Yield one outcome per spec, as they finish.

        Raises:
            InputError: the scheduler is gone, or no worker is left that may take trials.
        """
        from distributed.comm import CommClosedError

        waiting = deque(specs)
        try:
            while waiting or self.running:
                self._require_scheduler()
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
        except (CommClosedError, CancelledError):
            raise self._gone() from None
        finally:
            self.sender.stop()
            for address, reason in self.troubled.items():
                log.warning("dask worker %s was left out after a while: %s", address, reason)
            if self.client.status == "running":
                # What others run on the same scheduler is not touched.
                self.client.cancel([*self.running, *self.opening.values()])

    def _require_scheduler(self) -> None:
        if self.client.status != "running":
            raise self._gone()

    def _gone(self) -> InputError:
        return InputError(
            f"executor: the Dask scheduler at '{self.address}' is gone; results so far are kept, "
            "start it and run the same command again"
        )

    def _submit(self, spec: TrialSpec) -> None:
        allowed = frozenset(self.admitted)
        future = self.client.submit(
            run_on_worker, self.key, spec, workers=sorted(allowed), pure=False
        )
        self.running[future] = (spec, allowed)

    def _look_after_workers(self, waiting: deque[TrialSpec]) -> None:
        known = self._update()
        if self.admitted or self.opening or self.sender.busy:
            self.last_sign_of_life = time.monotonic()
        for future, (spec, allowed) in list(self.running.items()):
            # A task runs only where it was allowed to run when it was submitted.
            if not future.done() and not allowed & known:
                del self.running[future]
                self.client.cancel([future])
                waiting.appendleft(spec)
        if self.admitted:
            return
        hopeless = known and known <= {*self.refused, *self.troubled}
        if hopeless or time.monotonic() - self.last_sign_of_life > self.patience:
            raise InputError(self._no_worker())
        time.sleep(_POLL_SECONDS)

    def _no_worker(self) -> str:
        address = self.address
        tls = " and its --tls files" if address.startswith("tls://") else ""
        reasons = {**self.refused, **self.troubled}
        refused = "".join(f"\n  {each}: {why}" for each, why in reasons.items())
        return (
            f"executor: the Dask scheduler at '{address}' has no worker that may take trials; "
            f"results so far are kept. Start workers with 'dask worker {address} --nthreads 1'"
            f"{tls}.{' Refused:' if refused else ''}{refused}"
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
        except CancelledError:
            # The scheduler is gone, or has lost some of them.
            self._require_scheduler()
            return [future for future in self.running if future.done()]
        return list(found.done)

    def _outcome(self, spec: TrialSpec, future: Future) -> TrialOutcome | None:
        from distributed.scheduler import KilledWorker

        if future.status == "finished":
            answered = future.result()
            if answered is None:
                return self.losses.record(spec, "the worker was restarted")
            address, told = answered
            if isinstance(told, Trouble) and told.of_the_worker:
                self._leave_out(address, told.said)
                return None
            return outcome_of(spec, told)
        reason = future.exception() if future.status == "error" else future.status
        if isinstance(reason, KilledWorker):
            # Dask itself has tried it on several workers.
            return TrialOutcome(spec, None, f"lost with the workers that ran it ({reason})")
        return self.losses.record(spec, f"{reason}")

    def _leave_out(self, address: str, reason: str) -> None:
        """A worker's own disk or memory is no fault of the trial: others run it."""
        self.admitted.discard(address)
        if address not in self.troubled:
            self.troubled[address] = reason
            log.warning("dask worker %s gets no more trials: %s", address, reason)

    def _update(self) -> set[str]:
        """Look who is there, ask the new ones, and return the addresses of all."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        known = set(workers)
        for address in sorted(self.admitted - known):
            log.warning("dask worker %s is gone", address)
        self.admitted &= known
        self.opening = {k: v for k, v in self.opening.items() if k in known}
        asked = {*self.admitted, *self.refused, *self.troubled, *self.opening, *self.sender.busy}
        for address in sorted(known - asked):
            if workers[address]["nthreads"] != 1:
                self._refuse(address, SEVERAL)
                continue
            self._ask(address)
        for address, problem in self.sender.done():
            if address in known:
                self._refuse(address, problem) if problem else self._ask(address)
        for address, future in list(self.opening.items()):
            if future.done():
                del self.opening[address]
                self._judge(address, future)
        return known

    def _ask(self, address: str) -> None:
        self.opening[address] = self.client.submit(
            open_on_worker, self.key, self.described.to_json(), workers=[address], pure=False
        )

    def _judge(self, address: str, future: Future) -> None:
        if future.status != "finished":
            problem = future.exception() if future.status == "error" else future.status
            self._refuse(address, f"it could not be asked ({type(problem).__name__}: {problem})")
            return
        opened = future.result()
        reason = differences(environment(), opened.environment) or opened.error
        if reason:
            self._refuse(address, reason)
        elif opened.missing:
            self.sender.send(address, opened.missing)
        else:
            self.admitted.add(address)

    def _refuse(self, address: str, reason: str) -> None:
        self.refused[address] = reason
        log.warning("dask worker %s is refused: %s", address, reason)
