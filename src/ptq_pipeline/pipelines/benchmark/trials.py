"""The trials of one model: calibration sets and their ranges are shared by all methods and bits."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.draws import draw_set
from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.models import FloatModel
from ptq_pipeline.pipelines.benchmark.parameters import (
    BenchmarkParameters,
    CalibrationChoice,
    Cell,
)
from ptq_pipeline.trials.evaluation import Evaluation, shifted_evaluation
from ptq_pipeline.trials.execution import TrialRequest, TrialRunner
from ptq_pipeline.trials.trial import TrialStore
from ptq_pipeline.trials.workload import Workload

if TYPE_CHECKING:
    from ptq_pipeline.ptq import MethodConfig, QuantizationParameters
    from ptq_pipeline.ptq.statistics import InputStatistics

log = logging.getLogger(__name__)

TRIAL_COLUMNS = [
    *("model", "study", "bits", "method", "calibration"),
    *("size", "draw", "seed", "row", "error"),
]


class Sets:
    """Calibration sets of one model, drawn when they are first asked for.

    ``images`` are uint8 ``(N, C, H, W)``, row = sample id; ``size`` holds where a choice says none.
    """

    def __init__(self, pool: Pool, images: np.ndarray, seed: int, size: int) -> None:
        self._pool = pool
        self._images = images
        self._seed = seed
        self._size = size
        self._drawn: dict[tuple[str, int], CalibrationSet] = {}

    def __call__(self, choice: CalibrationChoice, draw: int) -> CalibrationSet:
        """Return one draw."""
        key = (choice.model_dump_json(), draw)
        if key not in self._drawn:
            plan = choice.plan(self._size, self._seed)
            self._drawn[key] = draw_set(self._pool, self._images, plan, draw)
        return self._drawn[key]


@dataclass(eq=False)
class SharedSets(Workload):
    """A workload that remembers what the float model makes of each calibration set.

    Twenty methods and bit settings read the same ranges and histograms, which are those that each
    of them would collect alone (``quantization.statistics: direct``), so trials are the same. They
    stay in memory: up to a megabyte a set.
    """

    _known: "dict[str, Mapping[str, InputStatistics]]" = field(default_factory=dict, repr=False)

    def quantize(
        self, method: "MethodConfig", images: np.ndarray, seed: int
    ) -> "QuantizationParameters":
        """Quantize with uint8 calibration images; see `Workload.quantize`."""
        from ptq_pipeline.ptq import activations_from, combine

        images = np.asarray(images)
        if not method.reducible or not len(images):
            return super().quantize(method, images, seed)
        found = activations_from(self._statistics_of(images), method, self.prepared)
        return combine(self.weights(method), found)

    def _statistics_of(self, images: np.ndarray) -> "Mapping[str, InputStatistics]":
        from ptq_pipeline.ptq import as_tensor_batches, collect_statistics

        key = hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
        if key not in self._known:
            batches = as_tensor_batches(self.model.preprocessing(images))
            self._known[key] = collect_statistics(self.prepared, batches, histograms=True)
        return self._known[key]


def run_benchmark(
    data: AuditData,
    pool: Pool,
    model: FloatModel,
    *,
    store: TrialStore,
    parameters: BenchmarkParameters,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Run all trials of one model on the selection images; those in the store cost nothing.

    Returns:
        One row per cell, draw and seed, whose ``row`` points into the second result (-1 for a trial
        that failed): top-1 classes ``(trials, shifts, images)`` int32, the float model's in row 0.
    """
    evaluation = shifted_evaluation(data, parameters.allowed_shifts, "selection")
    sets = Sets(pool, data.images, parameters.seed, parameters.set_size)
    runtime = parameters.runtime
    shared = SharedSets(model, runtime.build(), data.image_shape, batch_size=runtime.batch_size)
    runners = {
        key: TrialRunner(shared, each, store, parameters.shifts.root, parameters.executor.build())
        for key, each in parameters.every_method.items()
    }
    wanted: dict[tuple[str, str], list[Cell]] = {}
    for cell in parameters.cells():
        wanted.setdefault((cell.method, cell.bits), []).append(cell)
    # The float model's answers are those of any of them.
    reference = next(iter(runners.values())).run(None, None, evaluation).predictions
    answers, rows, known = [_stacked(reference, evaluation)], [], {}
    for number, (key, found) in enumerate(wanted.items(), 1):
        log.info("%s %s, %d of %d methods x bits", *key, number, len(wanted))
        drawn = [
            (cell, draw, seed, sets(cell.choice, draw))
            for cell in found
            for draw in range(cell.draws)
            for seed in range(cell.seeds)
        ]
        outcomes = runners[key].run_all(
            [TrialRequest(each.set_id, each.images, evaluation, seed) for *_, seed, each in drawn]
        )
        for (cell, draw, seed, each), outcome in zip(drawn, outcomes, strict=True):
            trial = outcome.spec.trial_id
            if outcome.predictions is not None and trial not in known:
                known[trial] = len(answers)
                answers.append(_stacked(outcome.predictions, evaluation))
            place = {"size": each.manifest.size, "draw": draw, "seed": seed}
            result = {"row": known.get(trial, -1), "error": outcome.error}
            rows.append({name: getattr(cell, name) for name in TRIAL_COLUMNS[1:5]} | place | result)
    return pd.DataFrame(rows, columns=TRIAL_COLUMNS[1:]), np.stack(answers)


def _stacked(predictions: Any, evaluation: Evaluation) -> np.ndarray:
    return np.stack([np.asarray(predictions[shift], np.int32) for shift in evaluation.arrays])
