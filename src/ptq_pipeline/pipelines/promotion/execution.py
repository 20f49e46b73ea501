"""The candidate's files, executed as they will be served, against the trial that was judged."""

import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.errors import InputError
from ptq_pipeline.models import FloatModel
from ptq_pipeline.pipelines.promotion.artifact import FILES, GRAPH, ONNX, PARAMETERS, WEIGHTS
from ptq_pipeline.pipelines.quantization.nodes import simulated_trial
from ptq_pipeline.pipelines.quantization.parameters import QuantizationParameters, StressParameters
from ptq_pipeline.trials.evaluation import CLEAN, Evaluation, build_evaluation
from ptq_pipeline.trials.store import TrialStore

if TYPE_CHECKING:
    from ptq_pipeline.runtimes import Predictor

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1


def execute_candidate(
    verdict: Mapping[str, Any],
    files: Mapping[str, bytes],
    samples: pd.DataFrame,
    images: np.ndarray,
    stressed: Mapping[str, np.ndarray],
    predictions: pd.DataFrame,
    model: FloatModel,
    calibration_sets: Mapping[str, CalibrationSet],
    store: TrialStore,
    shifts: StressParameters,
    parameters: QuantizationParameters,
) -> dict[str, Any]:
    """Run the exported files in the serving runtime on every image that was judged.

    The verdict is about the answers of a trial in memory. It holds for the files only if they give
    the same answers, so a single other answer is a FAIL: whatever group it would hurt was never
    judged.

    Returns:
        ``result`` (PASS, FAIL, or NONE without a candidate), ``answers`` by shift, ``parity`` per
        class with the simulation on the clean selection images, and ``reasons``.
    """
    trial_id, set_id = (verdict["candidate"][key] for key in ("trial_id", "set_id"))
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "trial_id": trial_id,
        "runtime": parameters.runtime.name,
        "files": [],
        "result": "NONE",
        "answers": {},
        "parity": [],
        "reasons": [],
    }
    if trial_id is None:
        return found
    names = served_files(files, parameters)
    found["files"] = list(names)
    evaluation = build_evaluation(samples, images, dict(stressed), list(shifts.root))
    predictor = load_candidate(files, names, model, images.shape[1:], parameters)
    answers = _answers(predictor, evaluation, model, parameters.runtime.batch_size)
    judged = predictions[predictions["trial_id"] == trial_id]
    for shift, own in answers.items():
        rows = judged[judged["shift"] == shift].set_index("sample_id")["predicted"]
        expected = rows.loc[evaluation.samples["sample_id"]].to_numpy()
        different = int((own != expected).sum())
        found["answers"][shift] = {"n": len(own), "different": different}
        if different:
            found["reasons"].append(_reason(shift, different, len(own), names))
    found["result"] = "FAIL" if found["reasons"] else "PASS"
    found["parity"] = _parity(
        *(answers[CLEAN], evaluation, samples, images, model, parameters),
        calibration_sets[set_id],
        store,
    )
    log.info("exported candidate: %s", found["result"])
    return found


def served_files(files: Mapping[str, bytes], parameters: QuantizationParameters) -> tuple[str, ...]:
    """Return the names of the candidate's files that the runtime serves, the one to load first."""
    # Only our own models have parameters; a file that another tool wrote stands alone.
    foreign = tuple(name for name in (GRAPH, WEIGHTS, ONNX) if name in files)
    return FILES[parameters.runtime.name] if PARAMETERS in files else foreign


def load_candidate(
    files: Mapping[str, bytes],
    names: tuple[str, ...],
    model: FloatModel,
    image_shape: tuple[int, ...],
    parameters: QuantizationParameters,
) -> "Predictor":
    """Load the candidate's files as the runtime serves them.

    Raises:
        InputError: there is no file, or it cannot be read.
    """
    from ptq_pipeline.runtimes import build_runtime

    if not names:
        raise InputError("the candidate has no model file; run the pipeline 'promotion' anew")
    runtime = build_runtime(parameters.runtime.name, **parameters.runtime.options)
    if runtime.name == "simulated":
        import torch
        from safetensors.numpy import load

        from ptq_pipeline.ptq import ModelFile, prepare
        from ptq_pipeline.ptq import QuantizationParameters as Parameters

        example = torch.from_numpy(model.example_input(image_shape))  # type: ignore[arg-type]
        if PARAMETERS in files:
            quantized = Parameters.from_arrays(load(files[PARAMETERS]))
        else:
            parts = {name: files[name] for name in names}
            quantized = Parameters({}, file=ModelFile("another tool", "onnx", parts))
        return runtime.compile(prepare(model.module, example), quantized)
    with TemporaryDirectory() as folder:
        for name in names:
            (Path(folder) / name).write_bytes(files[name])
        return runtime.load(Path(folder) / names[0])  # type: ignore[attr-defined]


def _answers(
    predictor: "Predictor", evaluation: Evaluation, model: FloatModel, batch_size: int
) -> dict[str, np.ndarray]:
    from ptq_pipeline.runtimes import predict_top1

    return {
        shift: predict_top1(
            predictor,
            array,
            model.preprocessing,
            batch_size=batch_size,
            rows=evaluation.rows[shift],
        )
        for shift, array in evaluation.arrays.items()
    }


def _parity(
    own: np.ndarray,
    evaluation: Evaluation,
    samples: pd.DataFrame,
    images: np.ndarray,
    model: FloatModel,
    parameters: QuantizationParameters,
    chosen: CalibrationSet,
    store: TrialStore,
) -> list[dict[str, Any]]:
    from ptq_pipeline.runtimes import parity

    selected = (evaluation.samples["split"] == "selection").to_numpy()
    selection = evaluation.only(selected, [CLEAN])
    outcome = simulated_trial(samples, images, model, store, parameters, chosen, selection)
    if outcome is None or outcome.predictions is None:
        return []
    labels = selection.samples["label"].to_numpy()
    table = parity(outcome.predictions[CLEAN], own[selected], labels, list(model.classes))
    # What the simulation does not lose and the file does is a difference in drop.
    table = table.assign(drop_difference=-table["difference"]).drop(columns="difference")
    rows = table.astype(object).where(table.notna(), None)
    return [dict(zip(rows.columns, values, strict=True)) for values in rows.itertuples(index=False)]


def _reason(shift: str, different: int, n: int, names: tuple[str, ...]) -> dict[str, Any]:
    from ptq_pipeline.reliability.reasons import Reason
    from ptq_pipeline.reliability.sentences import say

    return Reason(
        rule="candidate.execution",
        subject="candidate",
        sentence=say("candidate.execution", file=names[0], different=different, n=n, shift=shift),
        shift=shift,
        observed=float(different),
        limit=0.0,
        n=n,
    ).to_json()
