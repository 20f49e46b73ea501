"""The candidate's files, executed as they will be served, against the trial that was judged."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ptq_pipeline.artifact import GRAPH, ONNX, PARAMETERS, WEIGHTS, served_names
from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.core.answers import FloatAnswers
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.judgement.decision import ClassParity, ExecutedFile, Execution, ShiftAnswers
from ptq_pipeline.judgement.sentences import Reason, say
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.recipe import (
    OnnxruntimeParameters,
    OpenvinoParameters,
    RuntimeParameters,
    SimulatedParameters,
)

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
    audit: Audit,
    verdict: Verdict,
    files: Mapping[str, bytes],
    predictions: pd.DataFrame,
    float_predictions: pd.DataFrame,
    calibration_sets: Mapping[str, CalibrationSet],
) -> Execution:
    """Run the exported files in the serving runtime on every image that was judged.

    The verdict is about the answers of a trial in memory. It holds for the files only if they give
    the same answers, so a single other answer is a FAIL: whatever group it would hurt was never
    judged. The files for other consumers are executed on a few hundred selection images, and one
    that answers otherwise by more than rounding explains is withheld.
    """
    chosen, serving = verdict.candidate, audit.recipe.runtime
    if chosen.trial_id is None or chosen.set_id is None:
        return Execution(runtime=serving.name)
    names = served_names(files, serving.name)
    answers = _answers(audit, load_candidate(audit, files, serving))
    ids = audit.evaluation.units["sample_id"].to_numpy()
    judged = FloatAnswers.of(float_predictions).of_trial(predictions, chosen.trial_id, ids)
    compared = _compared(answers, judged)
    parity = _parity(audit, answers[CLEAN], calibration_sets[chosen.set_id])
    others = _others(audit, files, judged[CLEAN])
    reasons = [
        _reason(shift, each.different, each.n, names[0])
        for shift, each in compared.items()
        if each.different
    ]
    broken, withheld = _held_back(others, names)
    reasons += [*_parity_reasons(parity, names[0]), *broken]
    found = Execution(
        trial_id=chosen.trial_id,
        runtime=serving.name,
        files=names,
        result="FAIL" if reasons else "PASS",
        answers=compared,
        parity=parity,
        reasons=tuple(reasons),
        others=others,
        withheld=withheld,
    )
    same = "as the model that was judged" if found.result == "PASS" else "not as was judged"
    log.info("the exported file answers %s", same)
    return found


def _answers(audit: Audit, predictor: "Predictor") -> dict[str, np.ndarray]:
    """Return the answers under each shift, on the very pixels that were judged."""
    evaluation, batch_size = audit.evaluation, audit.recipe.runtime.batch_size
    # Reads all pixels and compares them; what changes from then on is found behind the answers.
    _ = evaluation.fingerprint
    answers = {shift: audit.predict(predictor, shift, batch_size) for shift in evaluation.arrays}
    evaluation.require_unchanged()
    return answers


def _compared(
    answers: Mapping[str, np.ndarray], judged: Mapping[str, np.ndarray]
) -> dict[str, ShiftAnswers]:
    return {
        shift: ShiftAnswers(n=len(found), different=int((found != judged[shift]).sum()))
        for shift, found in answers.items()
    }


def load_candidate(
    audit: Audit, files: Mapping[str, bytes], runtime: RuntimeParameters
) -> "Predictor":
    """Load the candidate's files as a runtime serves them.

    Raises:
        InputError: there is no file, or it cannot be read.
    """
    from ptq_pipeline.artifact.loading import Artifact

    with Artifact.unpacked(files, "the candidate") as candidate:
        return candidate.predictor(audit.model, audit.data.image_shape, runtime.build())


def _others(
    audit: Audit, files: Mapping[str, bytes], judged: np.ndarray
) -> tuple[ExecutedFile, ...]:
    """Execute every file in every way but the serving one; a file of another tool has no other."""
    import torch

    if PARAMETERS not in files:
        return ()
    serving = audit.recipe.runtime
    # Whatever runs here leaves torch's threads as they are.
    threads = getattr(serving, "threads", torch.get_num_threads())
    found = []
    for name, each in EXECUTIONS:
        modes = [getattr(runtime, "optimization", None) for runtime in (each, serving)]
        if name in files and (each.name != serving.name or modes[0] != modes[1]):
            runtime = each.model_copy(update={"threads": threads} if name != PARAMETERS else {})
            found.append(_executed(audit, name, runtime, files, judged))
    return tuple(found)


def _held_back(
    others: Sequence[ExecutedFile], names: Sequence[str]
) -> tuple[list[Reason], tuple[str, ...]]:
    """Say which files that answer otherwise are a reason for FAIL, and which do not ship."""
    reasons: list[Reason] = []
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
    return reasons, tuple(sorted(withheld))


def _executed(
    audit: Audit,
    name: str,
    runtime: RuntimeParameters,
    files: Mapping[str, bytes],
    judged: np.ndarray,
) -> ExecutedFile:
    """Execute one file on a few selection images of each class and compare with what was judged."""
    from ptq_pipeline.runtimes import disagreement

    judged, different = judged[audit.compared], None
    try:
        predictor = load_candidate(audit, files, runtime)
        own = audit.predict(predictor, CLEAN, runtime.batch_size, audit.compared)
    except InputError as error:
        difference: str | None = f"it cannot be executed here: {error}"
    else:
        difference = disagreement(audit.by_class(judged, own, audit.compared))
        different = int((own != judged).sum())
    return ExecutedFile(
        file=name,
        runtime=runtime.name,
        optimization=getattr(runtime, "optimization", None),
        n=len(judged),
        different=different,
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


def _parity(audit: Audit, own: np.ndarray, chosen: CalibrationSet) -> tuple[ClassParity, ...]:
    outcome = audit.simulated(chosen.set_id, chosen.images)
    if outcome is None or outcome.predictions is None:
        return ()
    selected = np.flatnonzero((audit.evaluation.units["split"] == "selection").to_numpy())
    table = audit.by_class(outcome.predictions[CLEAN], own[selected], selected)
    # What the simulation does not lose and the file does is a difference in drop.
    table = table.assign(drop_difference=-table["difference"]).drop(columns="difference")
    rows = table.astype(object).where(table.notna(), None)
    return tuple(ClassParity.model_validate(row) for row in rows.to_dict("records"))


def _reason(shift: str, different: int, n: int, name: str) -> Reason:
    sentence = say("candidate.execution", file=name, different=different, n=n, shift=shift)
    figures = {"observed": float(different), "limit": 0.0, "n": n}
    return Reason.of("candidate.execution", "candidate", sentence, shift=shift, **figures)
