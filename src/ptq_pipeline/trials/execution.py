"""Running trials: quantize with one calibration set, predict under every shift, keep the result."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ptq_pipeline.errors import PtqPipelineError
from ptq_pipeline.models import FloatModel
from ptq_pipeline.trials.evaluation import Evaluation
from ptq_pipeline.trials.spec import TrialSpec
from ptq_pipeline.trials.store import TrialStore

if TYPE_CHECKING:
    from ptq_pipeline.ptq import PreparedModel, QuantizationParameters, WeightParameters
    from ptq_pipeline.runtimes import Runtime

log = logging.getLogger(__name__)

Predictions = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class TrialOutcome:
    """What came of one trial.

    Attributes:
        spec: what was asked.
        predictions: top-1 classes ``(N,)`` int16 per shift; None when the trial failed.
        error: why it failed, or "".
    """

    spec: TrialSpec
    predictions: Predictions | None
    error: str = ""


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
    """

    def __init__(
        self,
        model: FloatModel,
        method: Mapping[str, Any],
        runtime: "Runtime",
        store: TrialStore,
        shifts: Mapping[str, Mapping[str, Any]],
        image_shape: tuple[int, int, int],
        batch_size: int = 250,
    ) -> None:
        self.model = model
        self.method = method
        self.runtime = runtime
        self.store = store
        self.shifts = shifts
        self.image_shape = image_shape
        self.batch_size = batch_size

    @cached_property
    def prepared(self) -> "PreparedModel":
        """The folded model, with every layer that will be quantized."""
        import torch

        from ptq_pipeline.ptq import prepare

        example = torch.from_numpy(self.model.example_input(self.image_shape))
        return prepare(self.model.module, example)

    @cached_property
    def weights(self) -> "Mapping[str, WeightParameters]":
        """Quantized weights; they depend on no calibration set."""
        from ptq_pipeline.ptq import MethodSpec, quantize_weights

        return quantize_weights(self.prepared, MethodSpec.from_json(self.method))

    def spec(self, calibration_set: str | None, evaluation: Evaluation) -> TrialSpec:
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
        )

    def quantize(self, images: np.ndarray) -> "QuantizationParameters":
        """Quantize with uint8 calibration images ``(n, C, H, W)``."""
        from ptq_pipeline.ptq import MethodSpec, calibrate
        from ptq_pipeline.ptq.calibration import as_tensor_batches

        batches = as_tensor_batches(self.model.preprocessing(np.asarray(images)))
        return calibrate(self.prepared, batches, MethodSpec.from_json(self.method), self.weights)

    def run(
        self, set_id: str | None, images: np.ndarray | None, evaluation: Evaluation
    ) -> TrialOutcome:
        """Run one trial, or take its result from the store.

        A trial whose quantization is refused by the engine is a failed trial, not a failed run.

        Args:
            set_id: id of the calibration set; None for the float model.
            images: its uint8 images; None for the float model.
            evaluation: the samples to predict.
        """
        spec = self.spec(set_id, evaluation)
        stored = self.store.get(spec)
        if stored is not None:
            return TrialOutcome(spec, stored)
        try:
            predictions = self._predict(images, evaluation)
        except PtqPipelineError as error:
            if set_id is None:
                raise
            log.warning("trial %s with calibration set %s failed: %s", spec.trial_id, set_id, error)
            return TrialOutcome(spec, None, str(error))
        self.store.put(spec, predictions)
        return TrialOutcome(spec, predictions)

    def _predict(self, images: np.ndarray | None, evaluation: Evaluation) -> Predictions:
        from ptq_pipeline.runtimes import predict_top1

        parameters = None if images is None else self.quantize(images)
        predictor = self.runtime.compile(self.prepared, parameters)
        return {
            name: predict_top1(
                predictor,
                array,
                self.model.preprocessing,
                batch_size=self.batch_size,
                rows=evaluation.rows[name],
            )
            for name, array in evaluation.arrays.items()
        }
