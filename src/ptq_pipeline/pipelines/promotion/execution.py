"""The candidate's files, executed as they will be served, against the trial that was judged."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ptq_pipeline.artifact import GRAPH, ONNX, PARAMETERS, WEIGHTS, served_names
from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.judgement.decision import ClassParity, ExecutedFile, Execution, ShiftAnswers
from ptq_pipeline.judgement.sentences import Reason, say
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.models import FloatModel
from ptq_pipeline.stress.shifts import StressParameters
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
        The content of ``candidate_execution.json``, see :class:`.Execution`.
    """
    chosen = Verdict.read(verdict).candidate
    if chosen.trial_id is None or chosen.set_id is None:
        return Execution(runtime=parameters.runtime.name).to_json()
    names = served_names(files, parameters.runtime.name)
    evaluation = build_evaluation(AuditData(samples, images, stressed), shifts.root)
    predictor = load_candidate(files, model, images.shape[1:], parameters.runtime)
    answers = _answers(predictor, evaluation, model, parameters.runtime.batch_size)
    own = predictions[predictions["trial_id"] == chosen.trial_id]
    judged = {
        shift: own[own["shift"] == shift]
        .set_index("sample_id")["predicted"]
        .loc[evaluation.samples["sample_id"]]
        .to_numpy()
        for shift in answers
    }
    compared = {
        shift: ShiftAnswers(n=len(found), different=int((found != judged[shift]).sum()))
        for shift, found in answers.items()
    }
    parity = _parity(
        *(answers[CLEAN], evaluation, samples, images, model, parameters),
        calibration_sets[chosen.set_id],
        store,
    )
    others = _others(files, evaluation, model, parameters, judged[CLEAN])
    reasons = [
        _reason(shift, each.different, each.n, names[0])
        for shift, each in compared.items()
        if each.different
    ]
    reasons += _parity_reasons(parity, names[0])
    withheld: set[str] = set()
    for other in others:
        if other.ships:
            continue
        log.warning("%s: %s", other.file, other.difference)
        if other.file in (*names, PARAMETERS):
            different = other.n if other.different is None else other.different
            reasons.append(_reason(CLEAN, different, other.n, other.file))
        else:
            withheld |= {GRAPH, WEIGHTS} if other.file == GRAPH else {other.file}
    found = Execution(
        trial_id=chosen.trial_id,
        runtime=parameters.runtime.name,
        files=names,
        result="FAIL" if reasons else "PASS",
        answers=compared,
        parity=parity,
        reasons=tuple(reasons),
        others=others,
        withheld=tuple(sorted(withheld)),
    )
    log.info("exported candidate: %s", found.result)
    return found.to_json()


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
    from ptq_pipeline.artifact.loading import Artifact

    with Artifact.unpacked(files, "the candidate") as candidate:
        return candidate.predictor(model, image_shape, parameters.build())


def _others(
    files: Mapping[str, bytes],
    evaluation: Evaluation,
    model: FloatModel,
    parameters: Recipe,
    judged: np.ndarray,
) -> tuple[ExecutedFile, ...]:
    """Execute every file in every way but the serving one; a file of another tool has no other."""
    import torch

    if PARAMETERS not in files:
        return ()
    serving = parameters.runtime
    # Whatever runs here leaves torch's threads as they are.
    threads = getattr(serving, "threads", torch.get_num_threads())
    found = []
    for name, each in EXECUTIONS:
        modes = [getattr(runtime, "optimization", None) for runtime in (each, serving)]
        if name in files and (each.name != serving.name or modes[0] != modes[1]):
            runtime = each.model_copy(update={"threads": threads} if name != PARAMETERS else {})
            found.append(_executed(name, runtime, files, evaluation, model, judged))
    return tuple(found)


def _executed(
    name: str,
    runtime: RuntimeParameters,
    files: Mapping[str, bytes],
    evaluation: Evaluation,
    model: FloatModel,
    judged: np.ndarray,
) -> ExecutedFile:
    """Execute one file on a few selection images of each class and compare with what was judged."""
    from ptq_pipeline.runtimes import disagreement, parity, predict_top1

    chosen = compared_positions(evaluation, len(model.classes))
    rows = evaluation.rows[CLEAN][chosen]
    array = evaluation.arrays[CLEAN]
    optimization = getattr(runtime, "optimization", None)
    try:
        predictor = load_candidate(files, model, array.shape[1:], runtime)
        own = predict_top1(
            predictor, array, model.preprocessing, batch_size=runtime.batch_size, rows=rows
        )
    except InputError as error:
        own, difference = None, f"it cannot be executed here: {error}"
    else:
        labels = evaluation.samples["label"].to_numpy()[chosen]
        difference = disagreement(parity(judged[chosen], own, labels, list(model.classes)))
    return ExecutedFile(
        file=name,
        runtime=runtime.name,
        optimization=optimization,
        n=len(chosen),
        different=None if own is None else int((own != judged[chosen]).sum()),
        difference=difference,
        ships=difference is None,
    )


def _parity_reasons(rows: tuple[ClassParity, ...], name: str) -> list[Reason]:
    from ptq_pipeline.runtimes import disagreement

    table = pd.DataFrame([row.to_json() for row in rows])
    if table.empty or disagreement(table, *LEAST_PARITY) is None:
        return []
    n = sum(row.n for row in rows)
    agreeing = sum(row.n * (row.agreement or 0.0) for row in rows)
    worst = min((row for row in rows if row.n), key=lambda row: row.agreement or 0.0)
    agreement = worst.agreement or 0.0
    sentence = say(
        "candidate.parity",
        file=name,
        different=round(n - agreeing),
        n=n,
        label=worst.class_,
        lost=round(worst.n * (1.0 - agreement)),
        size=worst.n,
    )
    figures = {"observed": agreement, "limit": 1.0 - LEAST_PARITY[1], "n": worst.n}
    return [Reason.of("candidate.parity", "candidate", sentence, shift=CLEAN, **figures)]


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
) -> tuple[ClassParity, ...]:
    from ptq_pipeline.runtimes import parity

    selected = (evaluation.samples["split"] == "selection").to_numpy()
    selection = evaluation.only(selected, [CLEAN])
    clean = StressParameters({CLEAN: {}})
    audit = Audit(AuditData(samples, images), model, store, clean, parameters)
    outcome = audit.simulated(TrialRequest(chosen.set_id, chosen.images, selection))
    if outcome is None or outcome.predictions is None:
        return ()
    labels = selection.samples["label"].to_numpy()
    table = parity(outcome.predictions[CLEAN], own[selected], labels, list(model.classes))
    # What the simulation does not lose and the file does is a difference in drop.
    table = table.assign(drop_difference=-table["difference"]).drop(columns="difference")
    rows = table.astype(object).where(table.notna(), None)
    return tuple(ClassParity.model_validate(row) for row in rows.to_dict("records"))


def _reason(shift: str, different: int, n: int, name: str) -> Reason:
    sentence = say("candidate.execution", file=name, different=different, n=n, shift=shift)
    figures = {"observed": float(different), "limit": 0.0, "n": n}
    return Reason.of("candidate.execution", "candidate", sentence, shift=shift, **figures)
