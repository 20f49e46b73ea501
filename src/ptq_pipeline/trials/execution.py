"""Running trials: what the store has is taken from it, an executor does the rest."""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.trials.evaluation import Evaluation
from ptq_pipeline.trials.executors import Executor, SerialExecutor
from ptq_pipeline.trials.trial import TrialOutcome, TrialSpec, TrialStore
from ptq_pipeline.trials.workload import Workload

if TYPE_CHECKING:
    from ptq_pipeline.ptq import MethodConfig, QuantizationParameters

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrialRequest:
    """One trial that is wanted.

    Attributes:
        set_id: id of the calibration set; None for the float model.
        images: its uint8 images ``(n, C, H, W)``; None for the float model.
        evaluation: the samples to predict.
        repeat: number of the method's seed.
    """

    set_id: str | None
    images: np.ndarray | None
    evaluation: Evaluation
    repeat: int = 0


@dataclass(eq=False)
class TrialRunner:
    """Runs trials of one float model and one method in one runtime.

    Attributes:
        workload: what trials share; evaluations and sets are added as they are asked for.
        shifts: name and options of every shift.
        executor: where trials run; in this process when left out.
    """

    workload: Workload
    method: "MethodConfig"
    store: TrialStore
    shifts: Mapping[str, Mapping[str, Any]]
    executor: Executor | None = None

    def spec(
        self, calibration_set: str | None, evaluation: Evaluation, repeat: int = 0
    ) -> TrialSpec:
        """Return the spec of a trial; without a calibration set, of the float model."""
        from ptq_pipeline.ptq import ENGINE_VERSION

        return TrialSpec(
            model=self.workload.model.fingerprint,
            method=None if calibration_set is None else self.method,
            calibration_set=calibration_set,
            evaluation=evaluation.fingerprint,
            shifts={name: self.shifts[name] for name in evaluation.arrays},
            runtime=self.workload.runtime.description(),
            engine=ENGINE_VERSION,
            statistics=None if calibration_set is None else self._grid_id,
            repeat=repeat,
        )

    @cached_property
    def _grid_id(self) -> str | None:
        return self.workload.grid_id(self.method)

    def quantize(self, set_id: str, images: np.ndarray) -> "QuantizationParameters":
        """Quantize with the uint8 images ``(n, C, H, W)`` of a calibration set, as its trials."""
        from ptq_pipeline.ptq import method_seed

        seed = method_seed(self.workload.model.fingerprint, self.method, set_id)
        return self.workload.quantize(self.method, images, seed)

    def run(
        self, set_id: str | None, images: np.ndarray | None, evaluation: Evaluation
    ) -> TrialOutcome:
        """Run one trial in this process, or take its result from the store; see `TrialRequest`.

        Raises:
            InputError: the float model itself cannot be evaluated.
        """
        (outcome,) = self._stream([TrialRequest(set_id, images, evaluation)], None)
        return outcome

    def run_all(
        self,
        requests: Iterable[TrialRequest],
        watch: Callable[[Iterator[TrialOutcome], int], Iterable[TrialOutcome]] | None = None,
        enough: Callable[[TrialOutcome], bool] | None = None,
    ) -> list[TrialOutcome]:
        """Run trials where the executor says and return their outcomes in the order asked.

        Every result is kept as soon as it is there, so an interrupted study goes on where it was.

        Args:
            requests: the trials.
            watch: passes on the outcomes, which come as trials finish, and their number; for
                example to show progress.
            enough: sees each outcome in the order asked; when it says so, the trials after it are
                no longer wanted.

        Raises:
            InputError: the float model itself cannot be evaluated, or the executor has no worker.
        """
        requests = list(requests)
        ids = [self.spec(each.set_id, each.evaluation, each.repeat).trial_id for each in requests]
        by_id: dict[str, TrialOutcome] = {}
        found: list[TrialOutcome] = []
        with closing(self._stream(requests, self.executor)) as stream:
            outcomes: Iterable[TrialOutcome] = stream
            if watch is not None:
                outcomes = watch(stream, len(set(ids)))
            for outcome in outcomes:
                by_id[outcome.spec.trial_id] = outcome
                while len(found) < len(ids) and ids[len(found)] in by_id:
                    found.append(by_id[ids[len(found)]])
                    if enough is not None and enough(found[-1]):
                        return found
        return found

    def _stream(
        self, requests: Iterable[TrialRequest], executor: Executor | None
    ) -> Generator[TrialOutcome, None, None]:
        """Yield each distinct trial's outcome once: those in the store, then as they finish."""
        missing: dict[str, TrialSpec] = {}
        seen: set[str] = set()
        for request in requests:
            spec = self.spec(request.set_id, request.evaluation, request.repeat)
            if spec.trial_id in seen:
                continue
            seen.add(spec.trial_id)
            if (stored := self.store.get(spec)) is not None:
                yield stored
                continue
            missing[spec.trial_id] = spec
            self.workload.evaluations[spec.evaluation] = request.evaluation
            if request.set_id is not None:
                self.workload.sets[request.set_id] = request.images
        if not missing:
            return
        executor = executor or SerialExecutor()
        with closing(executor.map(self.workload, list(missing.values()))) as outcomes:
            for outcome in outcomes:
                yield self._keep(outcome)

    def _keep(self, outcome: TrialOutcome) -> TrialOutcome:
        """Store an outcome, and return it as it is stored."""
        spec = outcome.spec
        if outcome.predictions is not None:
            if (evaluation := self.workload.evaluations.get(spec.evaluation)) is not None:
                evaluation.require_unchanged()
            return self.store.put(spec, outcome.predictions, outcome.notes)
        if spec.method is None:
            raise InputError(outcome.error)
        log.warning(
            "trial %s with calibration set %s failed: %s",
            spec.trial_id,
            spec.calibration_set,
            outcome.error,
        )
        return outcome
