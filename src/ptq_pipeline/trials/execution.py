"""Running trials: what the store has is taken from it, an executor does the rest."""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ptq_pipeline.errors import InputError
from ptq_pipeline.models import FloatModel
from ptq_pipeline.trials.evaluation import Evaluation
from ptq_pipeline.trials.executors import Executor, SerialExecutor
from ptq_pipeline.trials.spec import TrialSpec
from ptq_pipeline.trials.store import TrialStore
from ptq_pipeline.trials.workload import Predictions, TrialOutcome, Workload

if TYPE_CHECKING:
    from ptq_pipeline.ptq import PreparedModel, QuantizationParameters, WeightParameters
    from ptq_pipeline.ptq.image_statistics import ImageRows
    from ptq_pipeline.runtimes import Runtime

log = logging.getLogger(__name__)

STATISTICS = "statistics"

__all__ = ["Predictions", "TrialOutcome", "TrialRequest", "TrialRunner"]


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


class TrialRunner:
    """Runs trials of one float model and one method in one runtime.

    What all trials share (the folded model, its quantized weights) is made when the first trial
    that is not in the store needs it.

    Args:
        model: the float model.
        method: JSON form of the method.
        runtime: what executes the models.
        store: where results are looked up and kept.
        shifts: name and options of every shift.
        image_shape: ``(C, H, W)`` of the stored images.
        batch_size: images per inference.
        executor: where trials run; in this process when left out.
        statistics: whether draws are calibrated from statistics of single images, which are kept
            beside the results; forward passes for each draw when False.
        pool: uint8 images that the histograms of these statistics cover; without them, methods
            that read histograms make forward passes.
    """

    def __init__(
        self,
        model: FloatModel,
        method: Mapping[str, Any],
        runtime: "Runtime",
        store: TrialStore,
        shifts: Mapping[str, Mapping[str, Any]],
        image_shape: tuple[int, int, int],
        batch_size: int = 50,
        executor: Executor | None = None,
        statistics: bool = True,
        pool: "np.ndarray | ImageRows | None" = None,
    ) -> None:
        self.method = method
        self.store = store
        self.shifts = shifts
        self.executor = executor or SerialExecutor()
        self.workload = Workload(
            *(model, runtime, image_shape),
            batch_size=batch_size,
            statistics_folder=store.root / STATISTICS if statistics else None,
            pool=pool,
        )

    @property
    def model(self) -> FloatModel:
        """The float model."""
        return self.workload.model

    @property
    def runtime(self) -> "Runtime":
        """What executes the models."""
        return self.workload.runtime

    @property
    def prepared(self) -> "PreparedModel":
        """The folded model, with every layer that will be quantized."""
        return self.workload.prepared

    @property
    def weights(self) -> "Mapping[str, WeightParameters]":
        """Quantized weights; they depend on no calibration set."""
        return self.workload.weights(self.method)

    def spec(
        self, calibration_set: str | None, evaluation: Evaluation, repeat: int = 0
    ) -> TrialSpec:
        """Return the spec of a trial; without a calibration set, of the float model."""
        from ptq_pipeline.ptq import ENGINE_VERSION

        return TrialSpec(
            model=self.model.fingerprint,
            method=None if calibration_set is None else self.method,
            calibration_set=calibration_set,
            evaluation=evaluation.fingerprint,
            shifts={name: self.shifts[name] for name in evaluation.arrays},
            runtime=self.runtime.description(),
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

        seed = method_seed(self.model.fingerprint, self.method, set_id)
        return self.workload.quantize(self.method, images, seed)

    def run(
        self, set_id: str | None, images: np.ndarray | None, evaluation: Evaluation
    ) -> TrialOutcome:
        """Run one trial in this process, or take its result from the store.

        Args:
            set_id: id of the calibration set; None for the float model.
            images: its uint8 images; None for the float model.
            evaluation: the samples to predict.

        Raises:
            InputError: the float model itself cannot be evaluated.
        """
        (outcome,) = self._stream([TrialRequest(set_id, images, evaluation)], SerialExecutor())
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
            enough: sees each outcome in the order asked and says whether the trials after it are
                still wanted; without it all are.

        Returns:
            One outcome per request, up to the one that was enough.

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
        self, requests: Iterable[TrialRequest], executor: Executor
    ) -> Generator[TrialOutcome, None, None]:
        """Yield each distinct trial's outcome once: those in the store, then as they finish."""
        missing: dict[str, TrialSpec] = {}
        seen: set[str] = set()
        for request in requests:
            spec = self.spec(request.set_id, request.evaluation, request.repeat)
            if spec.trial_id in seen:
                continue
            seen.add(spec.trial_id)
            stored = self.store.outcome(spec)
            if stored is not None:
                predictions, notes = stored
                yield TrialOutcome(spec, predictions, notes=notes)
                continue
            missing[spec.trial_id] = spec
            self.workload.evaluations[spec.evaluation] = request.evaluation
            if request.set_id is not None:
                self.workload.sets[request.set_id] = request.images
        if not missing:
            return
        with closing(executor.map(self.workload, list(missing.values()))) as outcomes:
            for outcome in outcomes:
                self._keep(outcome)
                yield outcome

    def _keep(self, outcome: TrialOutcome) -> None:
        spec = outcome.spec
        if outcome.predictions is not None:
            if (evaluation := self.workload.evaluations.get(spec.evaluation)) is not None:
                evaluation.require_unchanged()
            self.store.put(spec, outcome.predictions, outcome.notes)
        elif spec.method is None:
            raise InputError(outcome.error)
        else:
            log.warning(
                "trial %s with calibration set %s failed: %s",
                *(spec.trial_id, spec.calibration_set, outcome.error),
            )
