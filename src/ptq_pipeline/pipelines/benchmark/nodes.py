"""Nodes of ``benchmark``: the trials of one model, and what all of them say."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.units import finds_objects
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.models import FloatModel
from ptq_pipeline.pipelines.benchmark.analysis import (
    ModelLosses,
    cell_table,
    effect_table,
    losses_of,
    variance_table,
)
from ptq_pipeline.pipelines.benchmark.parameters import BenchmarkParameters
from ptq_pipeline.pipelines.benchmark.trials import TRIAL_COLUMNS, run_benchmark
from ptq_pipeline.profiling.features import fit_projection, model_features
from ptq_pipeline.trials.trial import TrialStore


def benchmark_of(name: str) -> Callable[..., tuple[pd.DataFrame, np.ndarray]]:
    """Return the node function for the model called ``name``."""

    # A function of its own: Kedro reads the annotations of a node's arguments by their order.
    def run(
        samples: pd.DataFrame,
        images: np.ndarray,
        definitions: GroupDefinitions,
        model: FloatModel,
        store: TrialStore,
        parameters: BenchmarkParameters,
    ) -> tuple[pd.DataFrame, np.ndarray]:
        if not parameters.only.allows("models", name):
            return pd.DataFrame(columns=TRIAL_COLUMNS), np.zeros((0, 0, 0), np.int32)
        if finds_objects(samples):
            raise InputError(
                "benchmark compares recipes on classifiers and not yet on detectors; run it in an "
                "environment of labelled images, or run the audit once a recipe"
            )
        data = AuditData(samples, images, definitions=definitions)
        pool = _pool(data, model)
        trials, answers = run_benchmark(data, pool, model, store=store, parameters=parameters)
        if len(answers) == 1:
            reason = trials["error"].iloc[0] if len(trials) else ""
            raise InputError(f"benchmark: every trial of {name} failed: {reason}")
        return trials.assign(model=name)[TRIAL_COLUMNS], answers

    return run


def _pool(data: AuditData, model: FloatModel) -> Pool:
    """Return the pool with the profile that this model gives its images."""
    from ptq_pipeline.models.inference import run_in_batches

    ids = data.samples.loc[data.samples["split"] == "pool", "sample_id"].to_numpy()
    logits, features = run_in_batches(model, np.asarray(data.images[ids]))
    profiles = model_features(logits, features, fit_projection(features))
    profiles.insert(0, "sample_id", ids)
    return Pool.from_samples(data.samples, data.definitions, profiles=profiles)


def analyse_benchmark(
    samples: pd.DataFrame,
    definitions: GroupDefinitions,
    parameters: BenchmarkParameters,
    *found: Any,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return drops per cell, effects against the references, and variance components.

    ``found`` are trials and answers of one model after the other.
    """
    chosen = samples[samples["split"] == "selection"].sort_values("sample_id")
    labels = chosen["label"].to_numpy()
    classes = definitions.classes
    tables = [table for table in found[::2] if len(table)]
    if not tables:
        raise InputError("benchmark: 'only' leaves no trial; name at least one model and method")
    views = {
        table["model"].iloc[0]: {
            shift: ModelLosses(
                losses_of(np.asarray(answers[:, at]), labels), labels, classes, parameters
            )
            for at, shift in enumerate(parameters.allowed_shifts.root)
        }
        for table, answers in zip(found[::2], found[1::2], strict=True)
        if len(table)
    }
    trials = pd.concat(tables, ignore_index=True)
    return tuple(make(trials, views) for make in (cell_table, effect_table, variance_table))


def draw_benchmark(
    cells: pd.DataFrame, effects: pd.DataFrame, parameters: BenchmarkParameters
) -> tuple[Any, Any, Any]:
    """Draw curves against an axis, drops per method, and effects against the references."""
    from ptq_pipeline.pipelines.benchmark import figures

    return (
        figures.draw_curves(cells, parameters),
        figures.draw_methods(cells, parameters),
        figures.draw_effects(effects),
    )
