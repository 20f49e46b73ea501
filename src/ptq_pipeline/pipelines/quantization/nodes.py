"""Nodes of ``quantization``."""

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.errors import InputError
from ptq_pipeline.models import FloatModel
from ptq_pipeline.pipelines.quantization.parameters import (
    QuantizationParameters,
    RuntimeParameters,
    SimulatedParameters,
    StressParameters,
)
from ptq_pipeline.trials.evaluation import (
    CLEAN,
    Evaluation,
    build_evaluation,
    evaluated_samples,
)
from ptq_pipeline.trials.execution import TrialOutcome, TrialRequest, TrialRunner
from ptq_pipeline.trials.executors import build_executor
from ptq_pipeline.trials.store import TrialStore

log = logging.getLogger(__name__)

# Images that another runtime answers too, for comparison: as many of each class, at least one.
COMPARED_IMAGES, MOST_COMPARED = 300, 1000
# Share of the largest logit by which runtimes may differ in float.
FLOAT_ROUNDING = 1e-3

# From the float model's predictions to what is told each draw's set and predictions (None when it
# failed), in the order of the draws, and says whether the recipe is refused by now.
Refusal = Callable[[pd.DataFrame], Callable[[str, pd.DataFrame | None], bool]]


def stress_images(
    samples: pd.DataFrame, images: np.ndarray, shifts: StressParameters
) -> dict[str, np.ndarray]:
    """Make the shifted images of all evaluated samples once; every model sees the same pixels."""
    from ptq_pipeline.images import content_keys
    from ptq_pipeline.stress import apply_shift, build_shift

    chosen = evaluated_samples(samples)
    keys = content_keys(chosen["content_hash"])
    rows = chosen["sample_id"].to_numpy()
    return {
        name: apply_shift(name, build_shift(name, options), images, keys, rows)
        for name, options in shifts.root.items()
        if name != CLEAN
    }


def run_trials(
    samples: pd.DataFrame,
    images: np.ndarray,
    stressed: dict[str, np.ndarray],
    model: FloatModel,
    sets: dict[str, CalibrationSet],
    index: pd.DataFrame,
    store: TrialStore,
    shifts: StressParameters,
    parameters: QuantizationParameters,
    refusal: Refusal | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Quantize once per calibration set and predict under every shift.

    Valid sets of the recipe are evaluated on selection and audit; comparison sets on selection
    only, and whether valid or not. Invalid sets of the recipe are not quantized.

    Returns:
        ``trials``, ``predictions`` and ``float_predictions``.
    """
    wanted = list(index[index["valid"] | (index["role"] != "evidence")].itertuples(index=False))
    _require_images(wanted, sets, parameters.method)
    evaluation = build_evaluation(samples, images, stressed, list(shifts.root))
    selection = evaluation.only((evaluation.samples["split"] == "selection").to_numpy())
    runner = trial_runner(
        *(samples, images, model, store, shifts, parameters),
        executor=build_executor(**parameters.executor.model_dump()),
    )
    ids = evaluation.samples["sample_id"]
    reference = float_reference(model, runner, evaluation)
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
            found = None if outcome.predictions is None else _long(outcome, ids)
            return refused(str(outcome.spec.calibration_set), found)

    outcomes = _run(runner, wanted, requests, enough)
    rows, tables = [], []
    for position, outcome in sorted(outcomes.items()):
        rows.append(_trial_row(wanted[position], outcome, runner.runtime.name))
        if outcome.predictions is not None:
            tables.append(_long(outcome, requests[position].evaluation.samples["sample_id"]))
    if noted := sum(bool(row["notes"]) for row in rows):
        log.info("%d of %d trials took a fallback, see 'notes' of the trials", noted, len(rows))
    if not tables:
        raise InputError(f"every trial failed, the first one because: {rows[0]['error']}")
    predictions = pd.concat(tables, ignore_index=True)
    predictions["trial_id"] = predictions["trial_id"].astype("category")
    predictions["shift"] = predictions["shift"].astype("category")
    return pd.DataFrame(rows), predictions, reference


def compared_positions(evaluation: Evaluation, classes: int) -> np.ndarray:
    """Return where a few hundred selection images stand in the evaluation, as many of each class.

    Args:
        evaluation: the evaluated samples.
        classes: how many there are.
    """
    samples = evaluation.samples.reset_index(drop=True)
    selection = samples[samples["split"] == "selection"]
    per_class = max(1, COMPARED_IMAGES // classes)
    return selection.groupby("label").head(per_class).index.to_numpy()[:MOST_COMPARED]


def require_float_reference(
    model: FloatModel, evaluation: Evaluation, outcome: TrialOutcome, runtime: str
) -> None:
    """Hold the serving runtime's answers of the float model against torch, class by class.

    Every drop is counted from these answers, so this comes before the first trial. A few hundred
    clean selection images do; where torch itself hardly prefers its answer, no other one is wrong.

    Raises:
        InputError: more answers differ than rounding explains.
    """
    from ptq_pipeline.models import run_in_batches
    from ptq_pipeline.runtimes import disagreement, parity

    chosen = compared_positions(evaluation, len(model.classes))
    if not len(chosen):
        return
    array, rows = evaluation.arrays[CLEAN], evaluation.rows[CLEAN][chosen]
    logits, _ = run_in_batches(model, np.stack([array[row] for row in rows]))
    assert outcome.predictions is not None
    got, own = outcome.predictions[CLEAN][chosen], logits.argmax(1)
    preferred = logits.max(1) - logits[np.arange(len(own)), got]
    same = preferred <= FLOAT_ROUNDING * np.abs(logits).max()
    labels = evaluation.samples["label"].to_numpy()[chosen]
    table = parity(own, np.where(same, own, got), labels, list(model.classes))
    if (found := disagreement(table)) is not None:
        raise InputError(
            f"the float model answers in runtime {runtime!r} not as in torch: on clean selection "
            f"images {found}. Look for what a conversion fixes or computes in another way (a "
            "branch on values, pooling with ceil_mode), or set quantization.runtime.name to "
            "another runtime; if the network's code was edited, empty the trial store"
        )


def float_reference(model: FloatModel, runner: TrialRunner, evaluation: Evaluation) -> pd.DataFrame:
    """Return ``shift``, ``sample_id``, ``predicted`` of the float model in the serving runtime."""
    outcome = runner.run(None, None, evaluation)
    require_float_reference(model, evaluation, outcome, runner.runtime.name)
    return _long(outcome, evaluation.samples["sample_id"]).drop(columns="trial_id")


def _require_images(
    wanted: Sequence[Any], sets: dict[str, CalibrationSet], method: dict[str, Any]
) -> None:
    from ptq_pipeline.ptq import method_from_json

    parsed = method_from_json(method)
    for entry in wanted:
        size = sets[entry.set_id].manifest.size
        if entry.role == "evidence" and size < parsed.min_images:
            raise InputError(
                f"calibration set {entry.set_id} has {size} images and method {parsed.name} needs "
                f"{parsed.min_images}; raise calibration.set_size or lower what the method needs "
                "(batch_size of learned rounding)"
            )


def _run(
    runner: TrialRunner,
    wanted: Sequence[Any],
    requests: Sequence[TrialRequest],
    enough: Callable[[TrialOutcome], bool] | None,
) -> dict[int, TrialOutcome]:
    """Return outcomes by position; draws after the one that was enough have none."""
    from ptq_pipeline.reporting.progress import track

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


def trial_runner(
    samples: pd.DataFrame,
    images: np.ndarray,
    model: FloatModel,
    store: TrialStore,
    shifts: StressParameters,
    parameters: QuantizationParameters,
    **options: Any,
) -> TrialRunner:
    """Return the runner of the audit's trials; what it quantizes are their very integers."""
    return _runner(
        *(model, parameters.method, parameters.runtime, store, shifts.root, images.shape[1:]),
        statistics=parameters.statistics == "shared",
        pool=_pool(samples, images),
        **options,
    )


def _pool(samples: pd.DataFrame, images: np.ndarray) -> Any:
    from ptq_pipeline.ptq.image_statistics import ImageRows

    rows = samples.loc[samples["split"] == "pool", "sample_id"].sort_values()
    return ImageRows(images, rows.to_numpy())


def _runner(
    model: FloatModel,
    method: dict[str, Any],
    runtime: RuntimeParameters,
    store: TrialStore,
    shifts: dict[str, dict[str, Any]],
    image_shape: tuple[int, int, int],
    **options: Any,
) -> TrialRunner:
    from ptq_pipeline.runtimes import build_runtime

    built = build_runtime(runtime.name, **runtime.options)
    return TrialRunner(
        model, method, built, store, shifts, image_shape, runtime.batch_size, **options
    )


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


def _long(outcome: TrialOutcome, sample_ids: pd.Series) -> pd.DataFrame:
    predictions = outcome.predictions or {}
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "trial_id": outcome.spec.trial_id,
                    "shift": shift,
                    "sample_id": sample_ids.to_numpy(),
                    "predicted": predicted,
                }
            )
            for shift, predicted in predictions.items()
        ],
        ignore_index=True,
    )


def simulated_trial(
    samples: pd.DataFrame,
    images: np.ndarray,
    model: FloatModel,
    store: TrialStore,
    parameters: QuantizationParameters,
    chosen: CalibrationSet,
    evaluation: Evaluation,
) -> TrialOutcome | None:
    """Run one trial on clean images in the simulation, the reference of all runtimes.

    Returns:
        The outcome; None for a file of another tool that torch cannot execute.
    """
    from ptq_pipeline.ptq import method_from_json

    if getattr(method_from_json(parameters.method), "file_format", None) == "openvino":
        return None
    simulated = SimulatedParameters(name="simulated", batch_size=parameters.runtime.batch_size)
    clean = StressParameters({CLEAN: {}})
    in_torch = parameters.model_copy(update={"runtime": simulated})
    runner = trial_runner(samples, images, model, store, clean, in_torch)
    return runner.run(chosen.set_id, chosen.images, evaluation)


def measure_parity(
    samples: pd.DataFrame,
    images: np.ndarray,
    model: FloatModel,
    sets: dict[str, CalibrationSet],
    trials: pd.DataFrame,
    predictions: pd.DataFrame,
    store: TrialStore,
    parameters: QuantizationParameters,
) -> pd.DataFrame:
    """Compare the serving runtime with the simulation, per class, on the clean selection images."""
    from ptq_pipeline.reporting.progress import track
    from ptq_pipeline.runtimes import parity

    evaluation = build_evaluation(samples, images, {}, [CLEAN])
    selection = evaluation.only((evaluation.samples["split"] == "selection").to_numpy())
    done = trials[(trials["role"] == "evidence") & (trials["status"] == "done")]
    tables = []
    for trial in track(
        list(done.head(parameters.parity_draws).itertuples(index=False)), description="parity"
    ):
        chosen = sets[trial.set_id]
        expected = simulated_trial(samples, images, model, store, parameters, chosen, selection)
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
