"""Size and speed of the candidate's files beside the float model's, in the serving runtime."""

import platform
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ptq_pipeline.artifact import served_names
from ptq_pipeline.artifact.speed import CandidateSpeed, MeasuredRuntime, ModelSpeed
from ptq_pipeline.core.provenance import cpu_flags
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.pipelines.promotion.execution import load_candidate
from ptq_pipeline.trials.audit import Audit

if TYPE_CHECKING:
    from ptq_pipeline.ptq import PreparedModel
    from ptq_pipeline.runtimes import Predictor


def measure_candidate(
    audit: Audit, verdict: Mapping[str, Any], files: Mapping[str, bytes]
) -> dict[str, Any]:
    """Measure the files that would ship and the float model, one after the other.

    The figures are of this machine and this moment, so they are in a file of their own, which is
    no out of DVC and decides nothing.

    Returns:
        The content of ``candidate_speed.json``, see :class:`.CandidateSpeed`.
    """
    from ptq_pipeline.models.loading import prepared_model
    from ptq_pipeline.runtimes import measure_speed

    images, runtime = audit.data.images, audit.recipe.runtime.build()
    found = CandidateSpeed(
        trial_id=Verdict.read(verdict).candidate.trial_id,
        runtime=MeasuredRuntime.model_validate(runtime.description() | {"cpu_flags": cpu_flags()}),
        machine=platform.machine(),
        batch_size=min(audit.recipe.runtime.batch_size, len(images)),
    )
    if found.trial_id is None:
        return found.to_json()
    batch = audit.model.preprocessing(np.asarray(images[: found.batch_size]))
    prepared = prepared_model(audit.model, audit.data.image_shape)
    plain = runtime.compile(prepared, None)
    served = load_candidate(audit, files, audit.recipe.runtime)
    names = served_names(files, runtime.name)
    measured = {
        name: ModelSpeed(bytes=size, **measure_speed(predictor, batch))
        for name, predictor, size in (
            ("float_", plain, _float_bytes(prepared, plain, runtime.name)),
            ("candidate", served, sum(len(files[name]) for name in names)),
        )
    }
    return found.model_copy(update=measured).to_json()


def _float_bytes(prepared: "PreparedModel", predictor: "Predictor", runtime: str) -> int:
    """Return what the folded float model takes on disk in the format that the runtime serves."""
    if runtime == "simulated":
        from safetensors.torch import save as weights_of

        return len(weights_of(prepared.module.state_dict()))
    if runtime == "onnxruntime":
        return len(predictor.content)  # type: ignore[attr-defined]
    from ptq_pipeline.runtimes.openvino import save

    with TemporaryDirectory() as folder:
        written = save(predictor, Path(folder) / "model.xml")  # type: ignore[arg-type]
        return sum(path.stat().st_size for path in written)
