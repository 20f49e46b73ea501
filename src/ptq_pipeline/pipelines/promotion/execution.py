"""The candidate's files, executed as they will be served, against the trial that was judged."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ptq_pipeline.artifact_files import GRAPH, ONNX, PARAMETERS, WEIGHTS, served_names
from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.errors import InputError
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.models import FloatModel
from ptq_pipeline.stress.parameters import StressParameters
from ptq_pipeline.trials.audit import Audit, compared_positions
from ptq_pipeline.trials.evaluation import CLEAN, Evaluation, build_evaluation
from ptq_pipeline.trials.execution import TrialRequest
from ptq_pipeline.trials.recipe import (
    OnnxruntimeParameters,
    OpenvinoParameters,
    Recipe,
    RuntimeParameters,
    SimulatedParameters,
)
from ptq_pipeline.trials.store import TrialStore

if TYPE_CHECKING:
    from ptq_pipeline.runtimes import Predictor

log = logging.getLogger(__name__)

SCHEMA_VERSION = 2
# Where each file that ships is executed; ONNX Runtime with its kernels, and as ONNX defines them.
EXECUTIONS: tuple[tuple[str, RuntimeParameters], ...] = (
    (GRAPH, OpenvinoParameters(name="openvino")),
    (ONNX, OnnxruntimeParameters(name="onnxruntime")),
    (ONNX, OnnxruntimeParameters(name="onnxruntime", optimization="none")),
    (PARAMETERS, SimulatedParameters(name="simulated")),
)
# The serving kernels may differ from the simulation by more than rounding, as they were judged
# themselves; beyond these shares of all answers, and of one class, something is broken.
LEAST_PARITY = (0.03, 0.1)


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
    parameters: Recipe,
) -> dict[str, Any]:
    """Run the exported files in the serving runtime on every image that was judged.

    The verdict is about the answers of a trial in memory. It holds for the files only if they give
    the same answers, so a single other answer is a FAIL: whatever group it would hurt was never
    judged. The files for other consumers are executed on a few hundred selection images, and one
    that answers otherwise by more than rounding explains is withheld.

    Returns:
        ``result`` (PASS, FAIL, or NONE without a candidate), ``answers`` by shift, ``parity`` per
        class with the simulation on the clean selection images, ``reasons``, ``others``: what came
        of each file beside the served one, and ``withheld``: names of files that do not ship.
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
        "others": [],
        "withheld": [],
    }
    if trial_id is None:
        return found
    names = served_names(files, parameters.runtime.name)
    found["files"] = list(names)
    evaluation = build_evaluation(AuditData(samples, images, stressed), shifts.root)
    predictor = load_candidate(files, model, images.shape[1:], parameters.runtime)
    answers = _answers(predictor, evaluation, model, parameters.runtime.batch_size)
    judged = predictions[predictions["trial_id"] == trial_id]
    for shift, own in answers.items():
        rows = judged[judged["shift"] == shift].set_index("sample_id")["predicted"]
        expected = rows.loc[evaluation.samples["sample_id"]].to_numpy()
        different = int((own != expected).sum())
        found["answers"][shift] = {"n": len(own), "different": different}
        if different:
            found["reasons"].append(_reason(shift, different, len(own), names))
    found["parity"] = _parity(
        *(answers[CLEAN], evaluation, samples, images, model, parameters),
        calibration_sets[set_id],
        store,
    )
    found["reasons"] += _parity_reasons(found["parity"], names[0])
    rows = judged[judged["shift"] == CLEAN].set_index("sample_id")["predicted"]
    expected = rows.loc[evaluation.samples["sample_id"]].to_numpy()
    found["others"] = _others(files, evaluation, model, parameters, expected)
    for other in found["others"]:
        if other["ships"]:
            continue
        log.warning("%s: %s", other["file"], other["difference"])
        if other["file"] in (*names, PARAMETERS):
            different = other["n"] if other["different"] is None else other["different"]
            found["reasons"].append(_reason(CLEAN, different, other["n"], (other["file"],)))
        else:
            found["withheld"] += (GRAPH, WEIGHTS) if other["file"] == GRAPH else (other["file"],)
    found["withheld"] = sorted(set(found["withheld"]))
    found["result"] = "FAIL" if found["reasons"] else "PASS"
    log.info("exported candidate: %s", found["result"])
    return found


def load_candidate(
    files: Mapping[str, bytes],
    model: FloatModel,
    image_shape: tuple[int, ...],
    parameters: RuntimeParameters,
) -> "Predictor":
    """Load the candidate's files as a runtime serves them.

    Raises:
        InputError: there is no file, or it cannot be read.
    """
    from ptq_pipeline.artifact import Artifact

    with Artifact.unpacked(files, "the candidate") as candidate:
        return candidate.predictor(model, image_shape, parameters.build())


def _others(
    files: Mapping[str, bytes],
    evaluation: Evaluation,
    model: FloatModel,
    parameters: Recipe,
    judged: np.ndarray,
) -> list[dict[str, Any]]:
    """Execute every file in every way but the serving one; a file of another tool has no other."""
    import torch

    if PARAMETERS not in files:
        return []
    serving = parameters.runtime
    # Whatever runs here leaves torch's threads as they are.
    threads = getattr(serving, "threads", torch.get_num_threads())
    found = []
    for name, each in EXECUTIONS:
        modes = [getattr(runtime, "optimization", None) for runtime in (each, serving)]
        if name in files and (each.name != serving.name or modes[0] != modes[1]):
            runtime = each.model_copy(update={"threads": threads} if name != PARAMETERS else {})
            found.append(_executed(name, runtime, files, evaluation, model, judged))
    return found


def _executed(
    name: str,
    runtime: RuntimeParameters,
    files: Mapping[str, bytes],
    evaluation: Evaluation,
    model: FloatModel,
    judged: np.ndarray,
) -> dict[str, Any]:
    """Execute one file on a few selection images of each class and compare with what was judged."""
    from ptq_pipeline.runtimes import disagreement, parity, predict_top1

    chosen = compared_positions(evaluation, len(model.classes))
    rows = evaluation.rows[CLEAN][chosen]
    array = evaluation.arrays[CLEAN]
    found: dict[str, Any] = {
        "file": name,
        "runtime": runtime.name,
        "optimization": getattr(runtime, "optimization", None),
        "n": len(chosen),
        "different": None,
    }
    try:
        predictor = load_candidate(files, model, array.shape[1:], runtime)
        own = predict_top1(
            predictor, array, model.preprocessing, batch_size=runtime.batch_size, rows=rows
        )
    except InputError as error:
        return found | {"difference": f"it cannot be executed here: {error}", "ships": False}
    labels = evaluation.samples["label"].to_numpy()[chosen]
    table = parity(judged[chosen], own, labels, list(model.classes))
    difference = disagreement(table)
    found["different"] = int((own != judged[chosen]).sum())
    return found | {"difference": difference, "ships": difference is None}


def _parity_reasons(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    from ptq_pipeline.reliability.reasons import Reason
    from ptq_pipeline.reliability.sentences import say
    from ptq_pipeline.runtimes import disagreement

    if not rows or disagreement(pd.DataFrame(rows), *LEAST_PARITY) is None:
        return []
    n = sum(row["n"] for row in rows)
    agreeing = sum(row["n"] * (row["agreement"] or 0.0) for row in rows)
    known = [row for row in rows if row["n"]]
    worst = min(known, key=lambda row: row["agreement"])
    return [
        Reason(
            rule="candidate.parity",
            subject="candidate",
            sentence=say(
                "candidate.parity",
                file=name,
                different=round(n - agreeing),
                n=n,
                label=str(worst["class"]),
                lost=round(worst["n"] * (1.0 - worst["agreement"])),
                size=worst["n"],
            ),
            shift=CLEAN,
            observed=float(worst["agreement"]),
            limit=1.0 - LEAST_PARITY[1],
            n=worst["n"],
        ).to_json()
    ]


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
    parameters: Recipe,
    chosen: CalibrationSet,
    store: TrialStore,
) -> list[dict[str, Any]]:
    from ptq_pipeline.runtimes import parity

    selected = (evaluation.samples["split"] == "selection").to_numpy()
    selection = evaluation.only(selected, [CLEAN])
    clean = StressParameters({CLEAN: {}})
    audit = Audit(AuditData(samples, images), model, store, clean, parameters)
    outcome = audit.simulated(TrialRequest(chosen.set_id, chosen.images, selection))
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
