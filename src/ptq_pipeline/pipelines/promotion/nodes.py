"""Nodes of ``promotion``."""

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ptq_pipeline.artifact import RUNTIME_OPTIONS
from ptq_pipeline.artifact.writing import artifact_files
from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.core.canonical import file_bytes
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import TRIAL_FILE, VERDICT_FILE
from ptq_pipeline.judgement.baseline import Baseline
from ptq_pipeline.judgement.champion import Comparison
from ptq_pipeline.judgement.decision import Decision, Execution
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.models import FloatModel
from ptq_pipeline.pipelines.promotion.parameters import PromotionParameters
from ptq_pipeline.registry.evidence import COMPARISON_FILE, EXECUTION_FILE, INDEX_FILE, Evidence
from ptq_pipeline.registry.store import ANSWERS_FILE
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.trial import MACHINE, trial_id_of

if TYPE_CHECKING:
    from ptq_pipeline.trials.execution import TrialRunner

log = logging.getLogger(__name__)

INDEX_SCHEMA_VERSION = 1
CHECKED_IMAGES = 64


def export_candidate(
    audit: Audit,
    verdict: Verdict,
    trials: pd.DataFrame,
    calibration_sets: Mapping[str, CalibrationSet],
    baseline: Baseline,
) -> dict[str, bytes]:
    """Quantize the candidate once more, from its trial's spec, and return its files by name.

    A verdict without a candidate (no trial was done) gives nothing but a copy of the verdict. The
    file ``baseline.json`` is what the next candidate is compared with if this one is released.

    Raises:
        InputError: if trial, calibration set, float model or engine are not those of the verdict.
    """
    files = {VERDICT_FILE: file_bytes(verdict.to_json())}
    chosen = verdict.candidate
    trial_id, set_id = chosen.trial_id, chosen.set_id
    if trial_id is None or set_id is None:
        return files
    spec = _candidate_spec(trial_id, trials)
    if set_id not in calibration_sets:
        raise InputError(
            f"calibration set {set_id} of the candidate is missing; restore "
            "data/05_model_input/calibration_sets or run the pipeline 'calibration' again"
        )
    calibration = calibration_sets[set_id]
    _check_spec(trial_id, spec, calibration, audit.model)
    if baseline.trial_id != trial_id:
        raise InputError(
            f"the candidate's baseline is of trial {baseline.trial_id}, the verdict's candidate "
            f"is {trial_id}; run worst_case_check again"
        )
    files[ANSWERS_FILE] = file_bytes(baseline.to_json())
    files[TRIAL_FILE] = file_bytes({"trial_id": trial_id, "spec": _without_machine(spec)})
    files["calibration.json"] = file_bytes({"set_id": set_id, **calibration.manifest.to_json()})
    facts = {
        "trial_id": trial_id,
        "float_model_sha256": audit.model.fingerprint,
        "calibration_images_sha256": calibration.manifest.array_sha256,
        "engine": str(spec["engine"]),
        "method": json.dumps(spec["method"], sort_keys=True),
    }
    # A trial of onnxruntime says in which opset its file was.
    opset = spec["runtime"].get("opset")
    return files | build_artifact(audit.runner(), calibration, facts, opset)


def _candidate_spec(trial_id: str, trials: pd.DataFrame) -> dict[str, Any]:
    if "spec" not in trials:
        raise InputError(
            "the table 'trials' has no column 'spec', so the candidate cannot be rebuilt; run the "
            "pipeline 'quantization' again"
        )
    rows = trials[trials["trial_id"] == trial_id]
    if len(rows) != 1:
        raise InputError(
            f"the verdict's candidate {trial_id} is not among the trials; run worst_case_check "
            "again"
        )
    spec: dict[str, Any] = json.loads(rows["spec"].iloc[0])
    if trial_id_of(spec) != trial_id:
        raise InputError(
            f"the spec of trial {trial_id} does not match its id; run the pipeline 'quantization' "
            "again"
        )
    return spec


def _without_machine(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a trial as another machine writes it too; its table holds the whole."""
    runtime = spec["runtime"]
    kept = {*runtime} - MACHINE | {*runtime} & {*RUNTIME_OPTIONS.get(runtime["name"], ())}
    return {**spec, "runtime": {key: runtime[key] for key in runtime if key in kept}}


def _check_spec(
    trial_id: str, spec: Mapping[str, Any], calibration: CalibrationSet, model: FloatModel
) -> None:
    from ptq_pipeline.ptq import ENGINE_VERSION

    for what, then, now in (
        ("calibration set", spec["calibration_set"], calibration.set_id),
        ("float model", spec["model"], model.fingerprint),
        ("engine version", spec["engine"], ENGINE_VERSION),
    ):
        if then != now:
            raise InputError(
                f"trial {trial_id} was run with {what} {then}, but now it is {now}; run the "
                "pipelines from 'quantization' on again"
            )


def build_artifact(
    runner: "TrialRunner",
    calibration: CalibrationSet,
    facts: Mapping[str, str],
    opset: int | None = None,
) -> dict[str, bytes]:
    """Quantize the float model and return its files, see `artifact_files`.

    The runner is that of the trial: it quantizes with the statistics that its trials share.
    """
    set_id, images = calibration.set_id, np.asarray(calibration.images)
    workload, parameters = runner.workload, runner.quantize(set_id, images)
    inputs = workload.model.preprocessing(images[:CHECKED_IMAGES])
    facts = {**facts, "calibration_set": set_id}
    return artifact_files(workload.prepared, parameters, inputs, facts, opset)


def decide(
    verdict: Verdict,
    comparison: Comparison,
    execution: Execution,
    files: Mapping[str, bytes],
    parameters: PromotionParameters,
) -> tuple[Decision, dict[str, bytes]]:
    """Decide by verdict, comparison and execution alone; a refusal is a result like any other.

    Returns:
        ``decision`` and the candidate's folder: all files, the comparison and the execution that
        the decision rests on, and ``candidate.json``, the index that holds their hashes and says
        what was decided about them.

    Raises:
        InputError: the baseline is not of the answers that were compared.
    """
    files = {
        **{name: content for name, content in files.items() if name not in execution.withheld},
        COMPARISON_FILE: file_bytes(comparison.to_json()),
        EXECUTION_FILE: file_bytes(execution.to_json()),
    }
    evidence = Evidence(verdict, comparison, execution, files)
    decision = evidence.decide(parameters.environment)
    log.info("decision: %s (verdict %s)", decision.outcome, decision.verdict)
    evidence.check(decision)
    index = {
        "schema_version": INDEX_SCHEMA_VERSION,
        "decision": decision.outcome,
        "decision_hash": decision.hash,
        "verdict": decision.verdict,
        "trial_id": decision.candidate.trial_id,
        "set_id": decision.candidate.set_id,
        "files": dict(decision.candidate.files),
    }
    return decision, {**files, INDEX_FILE: file_bytes(index)}
