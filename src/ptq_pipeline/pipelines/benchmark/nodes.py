"""Nodes of ``benchmark``: the trials of one model, and what all of them say."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.models import FloatModel
from ptq_pipeline.pipelines.benchmark.grid import Cell, Sets, cells
from ptq_pipeline.pipelines.benchmark.parameters import BenchmarkParameters
from ptq_pipeline.pipelines.benchmark.workload import SharedSets
from ptq_pipeline.trials.evaluation import Evaluation, shifted_evaluation
from ptq_pipeline.trials.execution import TrialRequest, TrialRunner
from ptq_pipeline.trials.store import TrialStore

log = logging.getLogger(__name__)

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
        if not parameters.only.allows("models", name):
            return pd.DataFrame(columns=TRIAL_COLUMNS), np.zeros((0, 0, 0), np.int32)
        data = AuditData(samples, images)
        pool = _pool(data, definitions, model)
        trials, answers = run_benchmark(data, pool, model, store, parameters)
        if len(answers) == 1:
            reason = trials["error"].iloc[0] if len(trials) else ""
            raise InputError(f"benchmark: every trial of {name} failed: {reason}")
        return trials.assign(model=name)[TRIAL_COLUMNS], answers

    return run


def run_benchmark(
    data: AuditData,
    pool: Pool,
    model: FloatModel,
    store: TrialStore,
    parameters: BenchmarkParameters,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Run all trials of one model on the selection images; those in the store cost nothing.

    Args:
        data: samples and pixels.
        pool: what calibration sets are drawn from.
        model: the float model.
        store: results of trials.
        parameters: the grid.

    Returns:
        One row per cell and draw, whose ``row`` points into the second result: top-1 classes
        ``(trials, shifts, images)`` int32, the float model's in row 0.
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
    for cell in cells(parameters):
        wanted.setdefault((cell.method, cell.bits), []).append(cell)
    # The float model's answers are those of any of them.
    reference = next(iter(runners.values())).run(None, None, evaluation).predictions
    answers, rows, known = [_stacked(reference, evaluation)], [], {}
    for number, ((method, bits), found) in enumerate(wanted.items(), 1):
        log.info("%s %s, %d of %d methods x bits", method, bits, number, len(wanted))
        drawn = [
            (cell, draw, seed, sets(cell.choice, draw))
            for cell in found
            for draw in range(cell.draws)
            for seed in range(cell.seeds)
        ]
        requests = [
            TrialRequest(each.set_id, each.images, evaluation, seed) for _, _, seed, each in drawn
        ]
        outcomes = runners[method, bits].run_all(requests)
        for (cell, draw, seed, each), outcome in zip(drawn, outcomes, strict=True):
            trial = outcome.spec.trial_id
            if outcome.predictions is not None and trial not in known:
                known[trial] = len(answers)
                answers.append(_stacked(outcome.predictions, evaluation))
            rows.append(
                {
                    "study": cell.study,
                    "bits": cell.bits,
                    "method": cell.method,
                    "calibration": cell.calibration,
                    "size": each.manifest.size,
                    "draw": draw,
                    "seed": seed,
                    "row": known.get(trial, -1),
                    "error": outcome.error,
                }
            )
    return pd.DataFrame(rows, columns=TRIAL_COLUMNS[1:]), np.stack(answers)


def _stacked(predictions: Any, evaluation: Evaluation) -> np.ndarray:
    return np.stack([np.asarray(predictions[shift], np.int32) for shift in evaluation.arrays])


def _pool(data: AuditData, definitions: dict[str, Any], model: FloatModel) -> Pool:
    """Return the pool with the profile that this model gives its images."""
    from ptq_pipeline.models import run_in_batches
    from ptq_pipeline.profiling import fit_projection, model_features

    rows = data.samples[data.samples["split"] == "pool"]
    logits, features = run_in_batches(model, np.asarray(data.images[rows["sample_id"].to_numpy()]))
    profiles = model_features(logits, features, fit_projection(features))
    profiles.insert(0, "sample_id", rows["sample_id"].to_numpy())
    return Pool.from_samples(data.samples, definitions, profiles=profiles)


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
    shifts = list(parameters.allowed_shifts.root)
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
    """Draw curves against an axis, drops per method, and effects against the references."""
    from ptq_pipeline.pipelines.benchmark.figures import draw_curves, draw_effects, draw_methods

    axes = {name: study.axis for name, study in parameters.studies.items() if study.axis}
    return draw_curves(cells, axes), draw_methods(cells, parameters), draw_effects(effects)
