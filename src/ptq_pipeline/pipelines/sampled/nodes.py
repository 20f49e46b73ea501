"""Nodes of ``sampled``."""

import logging
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.stopping import Scope
from ptq_pipeline.pipelines.quantization.nodes import require_images, run_trials, trial_row
from ptq_pipeline.reporting.progress import track
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.sampling import JudgedDraw, SampledRun
from ptq_pipeline.trials.trial import predictions_table

log = logging.getLogger(__name__)


def run_sampled_trials(
    audit: Audit, sets: Mapping[str, CalibrationSet], index: pd.DataFrame, scope: Scope
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Quantize as `run_trials`, and evaluate the first draws in full and a sample of the others.

    Draws come in their order in this process and end with the one that refuses the recipe.
    Comparison sets are evaluated as ever.

    Returns:
        ``trials``, with what was seen of each draw (``shown``, ``answers``, ``full_answers``,
        ``question``); ``predictions`` of the trials in full; ``float_predictions``.
    """
    drawn = index[index["valid"] & (index["role"] == "evidence")]
    by_id = {entry.set_id: entry for entry in drawn.itertuples(index=False)}
    require_images(list(by_id.values()), sets, audit.recipe)
    run = SampledRun(audit, scope)
    pixels = {set_id: sets[set_id].images for set_id in by_id}
    rows, done = [], []
    for found in track(run.draws(pixels), len(scope.draws.table), "draws"):
        rows.append(_row(by_id[str(found.outcome.spec.calibration_set)], found, audit, run))
        if rows[-1]["status"] == "done":
            done.append((found.outcome, audit.evaluation))
    if not done:
        raise InputError(f"every draw in full failed, the first one because: {rows[0]['error']}")
    answers, whole = (sum(row[name] for row in rows) for name in ("answers", "full_answers"))
    log.info("%d draws took %s of %s answers", len(rows), f"{answers:,}", f"{whole:,}")
    compared = index[index["role"] != "evidence"]
    trials, predictions = pd.DataFrame(rows), predictions_table(done, run.reference)
    if len(compared):
        others, predicted, _ = run_trials(audit, sets, compared)
        trials = pd.concat([trials, others], ignore_index=True)
        predictions = pd.concat([predictions, predicted], ignore_index=True)
    columns = {name: predictions[name].astype("category") for name in ("trial_id", "shift")}
    return trials, predictions.assign(**columns), run.reference


def _row(entry: Any, found: JudgedDraw, audit: Audit, run: SampledRun) -> dict[str, Any]:
    row = trial_row(entry, found.outcome, audit.recipe.runtime.name)
    return {
        **row,
        "status": "sampled" if found.sampled else row["status"],
        "shown": found.state,
        "answers": found.answers,
        "full_answers": run.answers_of_a_draw,
        "question": run.cells.question,
    }
