"""Nodes of ``benchmark``: the trials of one model, and what all of them say."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.calibration import Pool
from ptq_pipeline.errors import InputError
from ptq_pipeline.models import FloatModel
from ptq_pipeline.pipelines.benchmark.grid import Sets, cells
from ptq_pipeline.pipelines.benchmark.parameters import BenchmarkParameters
from ptq_pipeline.pipelines.benchmark.workload import SharedSets
from ptq_pipeline.trials.evaluation import CLEAN, Evaluation
from ptq_pipeline.trials.execution import TrialRequest, TrialRunner
from ptq_pipeline.trials.executors import build_executor
from ptq_pipeline.trials.store import TrialStore

log = logging.getLogger(__name__)

FLOAT = "float"
TRIAL_COLUMNS = [
    *("model", "study", "bits", "method", "calibration"),
    *("size", "draw", "seed", "row", "error"),
]


def benchmark_of(name: str) -> Callable[..., tuple[pd.DataFrame, np.ndarray]]:
    """Return the node function for the model called ``name``."""

    # A function of its own: Kedro reads the annotations of a node's arguments by their order.
    def run(
        samples: pd.DataFrame,
        images: np.ndarray,
        definitions: dict[str, Any],
        model: FloatModel,
        store: TrialStore,
        parameters: BenchmarkParameters,
    ) -> tuple[pd.DataFrame, np.ndarray]:
        return run_benchmark(name, samples, images, definitions, model, store, parameters)

    return run


def run_benchmark(
    name: str,
    samples: pd.DataFrame,
    images: np.ndarray,
    definitions: dict[str, Any],
    model: FloatModel,
    store: TrialStore,
    parameters: BenchmarkParameters,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Run all trials of one model on the selection images; those in the store cost nothing.

    Args:
        name: name of the model.
        samples: the samples table.
        images: uint8, row = sample id.
        definitions: classes and segments.
        model: the float model.
        store: results of trials.
        parameters: the grid.

    Returns:
        One row per cell and draw, whose ``row`` points into the second result: top-1 classes
        ``(trials, shifts, images)`` int32, the float model's in row 0.
    """
    if not parameters.only.allows("models", name):
        return pd.DataFrame(columns=TRIAL_COLUMNS), np.zeros((0, 0, 0), np.int32)
    shifts, only = parameters.shifts.root, parameters.only
    allowed = {shift: shifts[shift] for shift in shifts if only.allows("shifts", shift)}
    evaluation = shifted(samples, images, allowed)
    pool = _pool(samples, images, definitions, model)
    sets = Sets(pool, images, parameters.seed, parameters.set_size)
    runners = _Runners(model, store, parameters, images)
    wanted = {}
    for cell in cells(parameters):
        wanted.setdefault((cell.method, cell.bits), []).append(cell)
    reference = runners.any().run(None, None, evaluation).predictions
    answers, rows, known = [_stacked(reference, evaluation)], [], {}
    for number, ((method, bits), found) in enumerate(wanted.items(), 1):
        log.info("%s: %s %s, %d of %d methods x bits", name, method, bits, number, len(wanted))
        drawn = [
            (cell, draw, seed, sets(cell.choice, draw))
            for cell in found
            for draw in range(cell.draws)
            for seed in range(cell.seeds)
        ]
        requests = [
            TrialRequest(each.set_id, each.images, evaluation, seed) for _, _, seed, each in drawn
        ]
        outcomes = runners.of(method, bits).run_all(requests)
        for (cell, draw, seed, each), outcome in zip(drawn, outcomes, strict=True):
            trial = outcome.spec.trial_id
            if outcome.predictions is not None and trial not in known:
                known[trial] = len(answers)
                answers.append(_stacked(outcome.predictions, evaluation))
            place = known.get(trial, -1)
            rows.append(
                [name, cell.study, bits, method, cell.calibration]
                + [each.manifest.size, draw, seed, place, outcome.error]
            )
    if len(answers) == 1:
        raise InputError(f"benchmark: every trial of {name} failed: {rows[0][-1] if rows else ''}")
    return pd.DataFrame(rows, columns=TRIAL_COLUMNS), np.stack(answers)


class _Runners:
    """One runner per method and bits; they share the folded model and what it says of each set."""

    def __init__(
        self,
        model: FloatModel,
        store: TrialStore,
        parameters: BenchmarkParameters,
        images: np.ndarray,
    ) -> None:
        from ptq_pipeline.runtimes import build_runtime

        built = build_runtime(parameters.runtime.name, **parameters.runtime.options)
        shape, batch = images.shape[1:], parameters.runtime.batch_size
        self._parameters = parameters
        self._store = store
        self._workload = SharedSets(model, built, shape, batch_size=batch)
        self._executor = build_executor(**parameters.executor.model_dump())

    def of(self, method: str, bits: str) -> TrialRunner:
        shared = self._workload
        runner = TrialRunner(
            *(shared.model, self._parameters.method(method, bits), shared.runtime, self._store),
            *(self._parameters.shifts.root, shared.image_shape, shared.batch_size),
            executor=self._executor,
            statistics=False,
        )
        runner.workload = shared
        return runner

    def any(self) -> TrialRunner:
        return self.of(next(iter(self._parameters.methods)), self._parameters.bits[0])


def shifted(
    samples: pd.DataFrame,
    images: np.ndarray,
    shifts: Mapping[str, Mapping[str, Any]],
    split: str = "selection",
) -> Evaluation:
    """Return the images of one split under every shift."""
    from ptq_pipeline.images import content_keys
    from ptq_pipeline.stress import apply_shift, build_shift

    chosen = samples[samples["split"] == split].sort_values("sample_id")
    keys = content_keys(chosen["content_hash"])
    clean = np.asarray(images[chosen["sample_id"].to_numpy()])
    arrays = {
        shift: clean
        if shift == CLEAN
        else apply_shift(shift, build_shift(shift, options), clean, keys)
        for shift, options in shifts.items()
    }
    rows = np.arange(len(chosen))
    return Evaluation(chosen, arrays, dict.fromkeys(arrays, rows))


def _stacked(predictions: Any, evaluation: Evaluation) -> np.ndarray:
    return np.stack([np.asarray(predictions[shift], np.int32) for shift in evaluation.arrays])


def _pool(
    samples: pd.DataFrame, images: np.ndarray, definitions: dict[str, Any], model: FloatModel
) -> Pool:
    """Return the pool with the profile that this model gives its images."""
    from ptq_pipeline.models import run_in_batches
    from ptq_pipeline.profiling import fit_projection, model_features

    rows = samples[samples["split"] == "pool"]
    logits, features = run_in_batches(model, np.asarray(images[rows["sample_id"].to_numpy()]))
    profiles = model_features(logits, features, fit_projection(features))
    profiles.insert(0, "sample_id", rows["sample_id"].to_numpy())
    return Pool.from_samples(samples, definitions, profiles=profiles)


def analyse_benchmark(
    samples: pd.DataFrame,
    definitions: dict[str, Any],
    parameters: BenchmarkParameters,
    *found: Any,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return drops per cell, effects against the references, and variance components.

    Args:
        samples: the samples table.
        definitions: classes and segments.
        parameters: the grid.
        found: trials and answers of one model after the other.
    """
    from ptq_pipeline.pipelines.benchmark.analysis import (
        Answers,
        cell_table,
        effect_table,
        losses_of,
        variance_table,
    )

    chosen = samples[samples["split"] == "selection"].sort_values("sample_id")
    labels, classes = chosen["label"].to_numpy(), tuple(definitions["classes"])
    shifts = [name for name in parameters.shifts.root if parameters.only.allows("shifts", name)]
    tables = [table for table in found[::2] if len(table)]
    views = {}
    for table, answers in zip(found[::2], found[1::2], strict=True):
        for position, shift in enumerate(shifts if len(table) else ()):
            losses = losses_of(np.asarray(answers), position, labels)
            views[table["model"].iloc[0], shift] = Answers(losses, labels, classes, parameters)
    if not tables:
        raise InputError("benchmark: 'only' leaves no trial; name at least one model and method")
    trials = pd.concat(tables, ignore_index=True)
    return (
        cell_table(trials, views),
        effect_table(trials, views),
        variance_table(trials, views),
    )


def draw_benchmark(
    cells: pd.DataFrame, effects: pd.DataFrame, parameters: BenchmarkParameters
) -> tuple[Any, Any, Any]:
    """Draw curves against an axis, drops per method, and effects against the references.

    Args:
        cells: ``benchmark_cells``.
        effects: ``benchmark_effects``.
        parameters: of the benchmark.
    """
    from ptq_pipeline.pipelines.benchmark.figures import draw_curves, draw_effects, draw_methods

    axes = {name: study.axis for name, study in parameters.studies.items() if study.axis}
    return draw_curves(cells, axes), draw_methods(cells, parameters), draw_effects(effects)
