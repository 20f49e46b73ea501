"""Size and speed of the candidate's files beside the float model's, in the serving runtime."""

import platform
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ptq_pipeline.artifact import served_names
from ptq_pipeline.core.provenance import cpu_flags
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.models import FloatModel
from ptq_pipeline.pipelines.promotion.execution import load_candidate
from ptq_pipeline.trials.recipe import Recipe

if TYPE_CHECKING:
    from ptq_pipeline.ptq import PreparedModel
    from ptq_pipeline.runtimes import Predictor

SCHEMA_VERSION = 1


def measure_candidate(
    verdict: Mapping[str, Any],
    files: Mapping[str, bytes],
    images: np.ndarray,
    model: FloatModel,
    parameters: Recipe,
) -> dict[str, Any]:
    """Measure the files that would ship and the float model, one after the other.

    The figures are of this machine and this moment, so they stand in a file of their own, which is
    no out of DVC and decides nothing.

    Returns:
        ``trial_id``, ``runtime`` (its description with threads and CPU flags), ``machine``,
        ``batch_size``, and for ``float`` and ``candidate`` each ``bytes`` on disk, ``latency_ms``
        of one image and ``images_per_second`` in batches; both None without a candidate.
    """
    from ptq_pipeline.models.loading import prepared_model
    from ptq_pipeline.runtimes import measure_speed

    runtime = parameters.runtime.build()
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "trial_id": Verdict.read(verdict).candidate.trial_id,
        "runtime": runtime.description() | {"cpu_flags": cpu_flags()},
        "machine": platform.machine(),
        "batch_size": min(parameters.runtime.batch_size, len(images)),
        "float": None,
        "candidate": None,
    }
    if found["trial_id"] is None:
        return found
    batch = model.preprocessing(np.asarray(images[: found["batch_size"]]))
    prepared = prepared_model(model, images.shape[1:])
    plain = runtime.compile(prepared, None)
    names = served_names(files, runtime.name)
    served = load_candidate(files, model, images.shape[1:], parameters.runtime)
    found["float"] = {"bytes": _float_bytes(prepared, plain, runtime.name)}
    found["float"] |= measure_speed(plain, batch)
    found["candidate"] = {"bytes": sum(len(files[name]) for name in names)}
    found["candidate"] |= measure_speed(served, batch)
    return found


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
