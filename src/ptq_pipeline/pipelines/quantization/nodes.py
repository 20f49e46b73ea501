"""Nodes of ``quantization``."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.images.source import content_keys
from ptq_pipeline.models import FloatModel
from ptq_pipeline.reporting.progress import track
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.audit import Audit, Refuse, long_predictions
from ptq_pipeline.trials.execution import TrialOutcome, TrialRequest, TrialRunner
from ptq_pipeline.trials.recipe import Recipe
from ptq_pipeline.trials.store import TrialStore

log = logging.getLogger(__name__)


def stress_images(
    samples: pd.DataFrame, images: np.ndarray, shifts: StressParameters
) -> dict[str, np.ndarray]:
    """Make the shifted images of all evaluated samples once; every model sees the same pixels."""
    chosen = AuditData(samples, images).evaluated
    keys = content_keys(chosen["content_hash"])
    return dict(shifts.shifted(images, keys, chosen["sample_id"].to_numpy()))


def run_trials(
    samples: pd.DataFrame,
    images: np.ndarray,
    stressed: dict[str, np.ndarray],
    model: FloatModel,
    sets: dict[str, CalibrationSet],
    index: pd.DataFrame,
    store: TrialStore,
    shifts: StressParameters,
    parameters: Recipe,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Quantize once per calibration set and predict under every shift.

    Returns:
        ``trials``, ``predictions`` and ``float_predictions``.
    """
    data = AuditData(samples, images, stressed)
    return trials_of(Audit(data, model, store, shifts, parameters), sets, index)


def trials_of(
    audit: Audit,
    sets: Mapping[str, CalibrationSet],
    index: pd.DataFrame,
    refusal: Refuse | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Run the trials of an audit.

    Valid sets of the recipe are evaluated on selection and audit; comparison sets on selection
    only, and whether valid or not. Invalid sets of the recipe are not quantized.

    Args:
        audit: what the trials share.
        sets: calibration sets by id.
        index: ``calibration_set_index``.
        refusal: says after which draw no more are needed; without it all are run.

    Returns:
        ``trials``, ``predictions`` and ``float_predictions``.
    """
    wanted = list(index[index["valid"] | (index["role"] != "evidence")].itertuples(index=False))
    _require_images(wanted, sets, audit.recipe)
    evaluation = audit.evaluation
    selection = evaluation.of("selection")
    runner = audit.runner(audit.recipe.executor.build())
    reference = audit.float_reference(runner)
    requests = [
        TrialRequest(
            entry.set_id,
            sets[entry.set_id].images,
            evaluation if entry.role == "evidence" else selection,
        )
        for entry in wanted
    ]
    enough = None
    if refusal is not None:
        refused = refusal(reference)

        def enough(outcome: TrialOutcome) -> bool:
            done = outcome.predictions is not None
            found = long_predictions(outcome, evaluation) if done else None
            return refused(str(outcome.spec.calibration_set), found)

    outcomes = _run(runner, wanted, requests, enough)
    rows, tables = [], []
    for position, outcome in sorted(outcomes.items()):
        rows.append(_trial_row(wanted[position], outcome, runner.runtime.name))
        if outcome.predictions is not None:
            tables.append(long_predictions(outcome, requests[position].evaluation))
    if noted := sum(bool(row["notes"]) for row in rows):
        log.info("%d of %d trials took a fallback, see 'notes' of the trials", noted, len(rows))
    if not tables:
        raise InputError(f"every trial failed, the first one because: {rows[0]['error']}")
    predictions = pd.concat(tables, ignore_index=True)
    predictions["trial_id"] = predictions["trial_id"].astype("category")
    predictions["shift"] = predictions["shift"].astype("category")
    return pd.DataFrame(rows), predictions, reference


def _require_images(
    wanted: Sequence[Any], sets: Mapping[str, CalibrationSet], recipe: Recipe
) -> None:
    method = recipe.method
    for entry in wanted:
        size = sets[entry.set_id].manifest.size
        if entry.role == "evidence" and size < method.min_images:
            raise InputError(
                f"calibration set {entry.set_id} has {size} images and method {method.name} needs "
                f"{method.min_images}; raise calibration.set_size or lower what the method needs "
                "(batch_size of learned rounding)"
            )


def _run(
    runner: TrialRunner,
    wanted: Sequence[Any],
    requests: Sequence[TrialRequest],
    enough: Callable[[TrialOutcome], bool] | None,
) -> dict[int, TrialOutcome]:
    """Return outcomes by position; draws after the one that was enough have none."""

    def run(positions: Sequence[int], **options: Any) -> dict[int, TrialOutcome]:
        chosen = [requests[position] for position in positions]
        found = runner.run_all(chosen, lambda each, total: track(each, total, "trials"), **options)
        return dict(zip(positions, found, strict=False))

    if enough is None:
        return run(range(len(requests)))
    draws = [i for i, entry in enumerate(wanted) if entry.role == "evidence"]
    draws.sort(key=lambda i: wanted[i].draw)
    found = run(draws, enough=enough)
    if len(found) < len(draws):
        log.info("the recipe is refused after %d of %d draws", len(found), len(draws))
    return {**found, **run([i for i in range(len(wanted)) if i not in draws])}


def _trial_row(entry: Any, outcome: TrialOutcome, runtime: str) -> dict[str, Any]:
    return {
        "trial_id": outcome.spec.trial_id,
        "set_id": entry.set_id,
        "strategy": entry.strategy,
        "role": entry.role,
        "draw": entry.draw,
        "status": "failed" if outcome.predictions is None else "done",
        "error": outcome.error,
        # Fallbacks of the quantization, a line each.
        "notes": "\n".join(outcome.notes),
        "runtime": runtime,
        "spec": json.dumps(outcome.spec.to_json(), sort_keys=True),
    }


def measure_parity(
    samples: pd.DataFrame,
    images: np.ndarray,
    model: FloatModel,
    sets: dict[str, CalibrationSet],
    trials: pd.DataFrame,
    predictions: pd.DataFrame,
    store: TrialStore,
    parameters: Recipe,
) -> pd.DataFrame:
    """Compare the serving runtime with the simulation, per class, on the clean selection images."""
    from ptq_pipeline.runtimes import parity

    clean = StressParameters({CLEAN: {}})
    audit = Audit(AuditData(samples, images), model, store, clean, parameters)
    selection = audit.evaluation.of("selection")
    done = trials[(trials["role"] == "evidence") & (trials["status"] == "done")]
    tables = []
    for trial in track(
        list(done.head(parameters.parity_draws).itertuples(index=False)), description="parity"
    ):
        request = TrialRequest(trial.set_id, sets[trial.set_id].images, selection)
        expected = audit.simulated(request)
        if expected is None:
            log.info("a file of another tool cannot be simulated, so there is no parity to measure")
            break
        if expected.predictions is None:
            raise InputError(f"the simulation of trial {trial.trial_id} failed: {expected.error}")
        own = predictions[
            (predictions["trial_id"] == trial.trial_id) & (predictions["shift"] == CLEAN)
        ].set_index("sample_id")["predicted"]
        table = parity(
            expected.predictions[CLEAN],
            own.loc[selection.samples["sample_id"]].to_numpy(),
            selection.samples["label"].to_numpy(),
            list(model.classes),
        )
        tables.append(table.assign(trial_id=trial.trial_id, runtime=parameters.runtime.name))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"trial_id": []})
