"""What the trials of one study share, and the pure function from a trial's spec to its result."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError, PtqPipelineError, first_line
from ptq_pipeline.core.objects import ObjectFolder
from ptq_pipeline.models import FloatModel
from ptq_pipeline.trials.evaluation import Evaluation
from ptq_pipeline.trials.trial import TrialOutcome, TrialSpec

if TYPE_CHECKING:
    from ptq_pipeline.ptq import (
        MethodConfig,
        MethodSpec,
        PreparedModel,
        QuantizationParameters,
        WeightParameters,
    )
    from ptq_pipeline.ptq.image_statistics import ImageRows, ImageStatistics
    from ptq_pipeline.ptq.statistics import HistogramGrid
    from ptq_pipeline.runtimes import Predictor, Runtime

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Workload:
    """Everything that trials read, by the hashes in their specs.

    One object serves all trials of a process: the folded model, its quantized weights and the
    converted graph are made once. Not safe to share between threads.

    Attributes:
        image_shape: ``(C, H, W)`` of the stored images.
        evaluations: by fingerprint.
        sets: uint8 calibration images ``(n, C, H, W)`` by id of the set.
        batch_size: images per inference.
        statistics_folder: where statistics of single images are kept; None calibrates every draw by
            forward passes of its own.
        pool: uint8 images that fix the grids of the histograms.
        grids: these grids, where another process has fixed them.
        objects: storage that workers elsewhere fetch the files from, see `description`.
    """

    model: FloatModel
    runtime: "Runtime"
    image_shape: tuple[int, int, int]
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    sets: dict[str, np.ndarray] = field(default_factory=dict)
    batch_size: int = 50
    statistics_folder: Path | None = None
    pool: "np.ndarray | ImageRows | None" = None
    grids: "Sequence[HistogramGrid] | None" = None
    objects: ObjectFolder | None = None
    _weights: dict[str, "Mapping[str, WeightParameters]"] = field(default_factory=dict, repr=False)

    @cached_property
    def prepared(self) -> "PreparedModel":
        """The folded model, with every layer that will be quantized."""
        from ptq_pipeline.models.loading import prepared_model

        return prepared_model(self.model, self.image_shape)

    def weights(self, method: "MethodSpec") -> "Mapping[str, WeightParameters]":
        """Return quantized weights; they depend on no calibration set and are made once."""
        from ptq_pipeline.ptq import quantize_weights

        key = canonical_hash(method.to_json())
        if key not in self._weights:
            self._weights[key] = quantize_weights(self.prepared, method)
        return self._weights[key]

    @cached_property
    def statistics(self) -> "ImageStatistics | None":
        """Statistics of single images, or None when calibration makes its own passes."""
        from ptq_pipeline.ptq.image_statistics import ImageStatistics

        if self.statistics_folder is None:
            return None
        found = ImageStatistics(
            self.statistics_folder,
            self.model.fingerprint,
            self.prepared,
            self.model.preprocessing,
            grid_images=self.pool,
            grids=self.grids,
        )
        if found.separable():
            return found
        log.warning(
            "the model mixes the images of a batch, so statistics of single images cannot be used; "
            "every draw is calibrated by forward passes of its own"
        )
        return None

    def is_quick(self, spec: TrialSpec) -> bool:
        """Whether a trial is prepared by one thread in a fraction of a second."""
        return spec.method is None or self.reduces(spec.method)

    def reduces(self, method: "MethodConfig") -> "TypeGuard[MethodSpec]":
        """Whether draws of this method are calibrated from statistics of single images."""
        return (
            method.reducible
            and self.statistics is not None
            and not (method.activation_range.needs_histogram and self.pool is self.grids is None)
        )

    def grid_id(self, method: "MethodConfig") -> str | None:
        """Return what the shared grid adds to a trial's identity, or None."""
        if not self.reduces(method) or not method.activation_range.needs_histogram:
            return None
        assert self.statistics is not None
        return self.statistics.grid_id

    def collect(self, specs: Iterable[TrialSpec]) -> None:
        """Compute the statistics of all images that these trials will need, each one once."""
        from ptq_pipeline.ptq.image_statistics import StatisticsError

        found: dict[bool, dict[str, np.ndarray]] = {False: {}, True: {}}
        for spec in specs:
            method, chosen = spec.method, spec.calibration_set
            if method is not None and chosen is not None and self.reduces(method):
                found[method.activation_range.needs_histogram][chosen] = self.sets[chosen]
        if self.statistics is None:
            return
        try:
            for histograms, sets in found.items():
                images = [np.asarray(each) for each in sets.values()]
                self.statistics.add(images, histograms=histograms and bool(images))
        except StatisticsError as error:
            # The trials whose images are at fault will say so, each for itself.
            log.warning("statistics of the calibration images are incomplete: %s", error)

    def quantize(
        self, method: "MethodConfig", images: np.ndarray, seed: int
    ) -> "QuantizationParameters":
        """Quantize with uint8 calibration images ``(n, C, H, W)``; see `method_seed`."""
        from ptq_pipeline.ptq import activations_from, as_tensor_batches, combine, quantize_model

        images = np.asarray(images)
        weights = self.weights(method) if method.reducible else None
        if weights is not None and len(images) and self.reduces(method):
            assert self.statistics is not None
            found = self.statistics.reduce(images, method.activation_range.needs_histogram)
            return combine(weights, activations_from(found, method, self.prepared))
        batches = as_tensor_batches(self.model.preprocessing(images))
        return quantize_model(self.prepared, batches, method, seed=seed, weights=weights)

    def run(self, spec: TrialSpec) -> TrialOutcome:
        """Run one trial; whatever breaks in its method or runtime is a failed trial, no error."""
        return self.prepare(spec)()

    def prepare(self, spec: TrialSpec) -> Callable[[], TrialOutcome]:
        """Quantize and compile, and return what evaluates; another trial may do so meanwhile.

        Raises:
            InputError: the spec asks for what is not here, or for another machine, or statistics
                do not fit on the disk.
        """
        self._require(spec)
        self.collect([spec])
        parameters = None
        try:
            if spec.method is not None:
                images = self.sets[str(spec.calibration_set)]
                parameters = self.quantize(spec.method, images, spec.method_seed)
            predictor = self.runtime.compile(self.prepared, parameters)
        except Exception as error:  # noqa: BLE001 - tools of others fail with anything
            failed = TrialOutcome(spec, None, _reason(error))
            return lambda: failed
        notes = () if parameters is None else parameters.fallbacks

        def evaluate() -> TrialOutcome:
            evaluation = self.evaluations[spec.evaluation]
            try:
                found = {name: self.predict(predictor, evaluation, name) for name in spec.shifts}
            except Exception as error:  # noqa: BLE001 - tools of others fail with anything
                return TrialOutcome(spec, None, _reason(error))
            return TrialOutcome(spec, found, notes=notes)

        return evaluate

    def predict(
        self,
        predictor: "Predictor",
        evaluation: Evaluation,
        shift: str,
        positions: "np.ndarray | slice" = slice(None),
    ) -> np.ndarray:
        """Return a compiled model's answers, int32, to an evaluation's units.

        Raises:
            InputError: an output says nothing, or names a class that there is not.
        """
        preprocessing = self.model.preprocessing
        found = evaluation.predict(predictor, preprocessing, shift, self.batch_size, positions)
        self.require_classes(found)
        return found

    def require_classes(self, answers: np.ndarray) -> None:
        """Check that a classifier answers with classes of the float model.

        Raises:
            InputError: it does not.
        """
        classes = len(self.model.classes)
        wrong = answers[(answers < 0) | (answers >= classes)]
        if len(wrong) and not self.model.task.finds_objects:
            raise InputError(
                f"runtime {self.runtime.name}: the model answers class {int(wrong[0])}, and the "
                f"float model has classes 0 to {classes - 1}; both must count them alike"
            )

    def _require(self, spec: TrialSpec) -> None:
        from ptq_pipeline.ptq import ENGINE_VERSION

        here = {
            "float model": (spec.model, [self.model.fingerprint]),
            "evaluation": (spec.evaluation, self.evaluations),
            "calibration set": (spec.calibration_set, [None, *self.sets]),
            "engine": (spec.engine, [ENGINE_VERSION]),
            "runtime": (spec.runtime, [self.runtime.description()]),
        }
        for what, (asked, known) in here.items():
            if asked not in known:
                raise InputError(
                    f"trial {spec.trial_id} cannot run here: its {what} is {asked!r}, and here is "
                    f"{list(known)!r}"
                )


def _reason(error: Exception) -> str:
    """Say why a trial failed.

    Raises:
        OSError: a full disk or missing memory say nothing of what was quantized.
    """
    if isinstance(error, OSError | MemoryError):
        raise error
    if isinstance(error, PtqPipelineError):
        return str(error)
    return f"{type(error).__name__}: {first_line(error)}"
