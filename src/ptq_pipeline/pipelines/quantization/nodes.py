"""Nodes of ``quantization``."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.core.answers import FloatAnswers
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.images.source import content_keys
from ptq_pipeline.judgement.ledger import Asking, Ledger
from ptq_pipeline.judgement.openings import Opener, recipe_question
from ptq_pipeline.models import FloatModel
from ptq_pipeline.reporting.progress import track
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.audit import Audit, Refuse
from ptq_pipeline.trials.execution import TrialRequest, TrialRunner
from ptq_pipeline.trials.readiness import require_servable
from ptq_pipeline.trials.recipe import Recipe
from ptq_pipeline.trials.trial import TrialOutcome, TrialStore, predictions_table

log = logging.getLogger(__name__)


def check_model(model: FloatModel, images: np.ndarray, recipe: Recipe, store: TrialStore) -> None:
    """End a run now, not after its trials, when the float model cannot be served or exported."""
    require_servable(model, images, recipe, store)


def stress_images(data: AuditData, shifts: StressParameters) -> dict[str, np.ndarray]:
    """Make the shifted images of all evaluated samples once; every model sees the same pixels."""
    chosen = data.evaluated
    keys = content_keys(chosen["content_hash"])
    return dict(shifts.shifted(data.images, keys, chosen["sample_id"].to_numpy()))


def run_trials(
    audit: Audit,
    sets: Mapping[str, CalibrationSet],
    index: pd.DataFrame,
    ledger: Ledger | None = None,
    refusal: Refuse | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Quantize once per calibration set and predict under every shift.

    Valid sets of the recipe are evaluated on selection and audit; comparison sets on selection
    only, and whether valid or not. Invalid sets of the recipe are not quantized. With a refusal the
    recipe's draws come first, in their order, and end with the one that refuses it. That the audit
    images are opened is entered in the ledger before any trial answers them.

    Returns:
        ``trials``, ``predictions`` and ``float_predictions``.
    """
    wanted = list(index[index["valid"] | (index["role"] != "evidence")].itertuples(index=False))
    require_images(wanted, sets, audit.recipe)
    selection = audit.evaluation.of("selection")
    runner = audit.runner(audit.recipe.executor.build())
    spec = _enter(audit, runner, wanted, ledger)
    reference = audit.float_reference(runner)
    requests = [
        TrialRequest(
            entry.set_id,
            sets[entry.set_id].images,
            audit.evaluation if entry.role == "evidence" else selection,
        )
        for entry in wanted
    ]
    refused = None if refusal is None else refusal(list(audit.shifts.root), reference, spec)
    outcomes = _run(audit, runner, requests, wanted, refused)
    rows, done = [], []
    for position, outcome in sorted(outcomes.items()):
        rows.append(trial_row(wanted[position], outcome, audit.recipe.runtime.name))
        if outcome.predictions is not None:
            done.append((outcome, requests[position].evaluation))
    if noted := sum(bool(row["notes"]) for row in rows):
        log.info("%d of %d trials took a fallback, see 'notes' of the trials", noted, len(rows))
    if not done:
        raise InputError(f"every trial failed, the first one because: {rows[0]['error']}")
    return pd.DataFrame(rows), predictions_table(done, reference), reference


def _enter(
    audit: Audit, runner: TrialRunner, wanted: Sequence[Any], ledger: Ledger | None
) -> dict[str, Any]:
    """Enter the recipe in the ledger; return the spec of its first trial."""
    evidence = sorted((each for each in wanted if each.role == "evidence"), key=lambda e: e.draw)
    if not evidence:
        return {}
    spec = runner.spec(evidence[0].set_id, audit.evaluation).to_json()
    if ledger is not None:
        question = recipe_question(spec, evidence[0].strategy, evidence[0].set_id)
        Opener.of(ledger, audit.data.samples).enter(Asking("recipe", question))
    return spec


def _run(
    audit: Audit,
    runner: TrialRunner,
    requests: Sequence[TrialRequest],
    wanted: Sequence[Any],
    refused: Callable[[str, pd.DataFrame | None], bool] | None,
) -> dict[int, TrialOutcome]:
    """Return outcomes by position; draws after the one that refuses the recipe have none."""

    def enough(outcome: TrialOutcome) -> bool:
        assert refused is not None
        done = outcome.predictions is not None
        table = outcome.table(audit.evaluation) if done else None
        return refused(str(outcome.spec.calibration_set), table)

    every = range(len(wanted))
    parts: list[tuple[Sequence[int], Callable[[TrialOutcome], bool] | None]] = [(every, None)]
    if refused is not None:
        draws = [i for i in every if wanted[i].role == "evidence"]
        draws.sort(key=lambda i: wanted[i].draw)
        parts = [(draws, enough), ([i for i in every if i not in draws], None)]
    outcomes: dict[int, TrialOutcome] = {}
    for positions, stop in parts:
        chosen = [requests[i] for i in positions]
        found = runner.run_all(chosen, lambda each, total: track(each, total, "trials"), stop)
        if len(found) < len(positions):
            log.info("the recipe is refused after %d of %d draws", len(found), len(positions))
        outcomes |= zip(positions, found, strict=False)
    return outcomes


def require_images(
    wanted: Sequence[Any], sets: Mapping[str, CalibrationSet], recipe: Recipe
) -> None:
    """Check that the sets of the recipe hold as many images as its method needs.

    Raises:
        InputError: one has fewer.
    """
    method = recipe.method
    for entry in wanted:
        size = sets[entry.set_id].manifest.size
        if entry.role == "evidence" and size < method.min_images:
            raise InputError(
                f"calibration set {entry.set_id} has {size} images and method {method.name} needs "
                f"{method.min_images}; raise calibration.set_size or lower what the method needs "
                "(batch_size of learned rounding)"
            )


def trial_row(entry: Any, outcome: TrialOutcome, runtime: str) -> dict[str, Any]:
    """Return a row of the table of trials; ``entry`` is its row of the index of sets."""
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
    audit: Audit,
    sets: Mapping[str, CalibrationSet],
    trials: pd.DataFrame,
    predictions: pd.DataFrame,
    float_predictions: pd.DataFrame,
) -> pd.DataFrame:
    """Compare the serving runtime with the simulation, per class, on the clean selection images."""
    done = trials[(trials["role"] == "evidence") & (trials["status"] == "done")]
    chosen = list(done.head(audit.recipe.parity_draws).itertuples(index=False))
    floats = FloatAnswers.of(float_predictions)
    clean = predictions[predictions["shift"] == CLEAN]
    ids = audit.selection.units["sample_id"].to_numpy()
    selected = np.flatnonzero((audit.evaluation.units["split"] == "selection").to_numpy())
    tables = []
    for trial in track(chosen, description="parity"):
        expected = audit.simulated(trial.set_id, sets[trial.set_id].images)
        if expected is None:
            log.info("a file of another tool cannot be simulated, so there is no parity to measure")
            break
        if expected.predictions is None:
            raise InputError(f"the simulation of trial {trial.trial_id} failed: {expected.error}")
        answers = floats.of_trial(clean, trial.trial_id, ids)[CLEAN]
        table = audit.by_class(expected.predictions[CLEAN], answers, selected)
        tables.append(table.assign(trial_id=trial.trial_id, runtime=audit.recipe.runtime.name))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"trial_id": []})
