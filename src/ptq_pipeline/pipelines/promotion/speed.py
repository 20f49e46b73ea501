"""Size and speed of the candidate's files beside the float model's, in the serving runtime."""

import platform
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ptq_pipeline.artifact import served_names
from ptq_pipeline.artifact.speed import CandidateSpeed, MeasuredRuntime, ModelSpeed, Ratio
from ptq_pipeline.core.provenance import cpu_flags
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.pipelines.promotion.execution import load_candidate
from ptq_pipeline.trials.audit import Audit

ROUNDS = 5
ENOUGH = 20.0

if TYPE_CHECKING:
    from ptq_pipeline.ptq import PreparedModel
    from ptq_pipeline.runtimes import Predictor


def measure_candidate(audit: Audit, verdict: Verdict, files: Mapping[str, bytes]) -> CandidateSpeed:
    """Measure the files that would ship and the float model in turn, several times.

    The figures are of this machine and this moment, so they are in a file of their own, which is
    no out of DVC and decides nothing. Of a model that a command runs nothing is measured.
    """
    from ptq_pipeline.models.loading import prepared_model
    from ptq_pipeline.runtimes import ExternalRuntime

    images, runtime = audit.data.images, audit.recipe.runtime.build()
    found = CandidateSpeed(
        trial_id=verdict.candidate.trial_id,
        runtime=MeasuredRuntime.model_validate(runtime.description() | {"cpu_flags": cpu_flags()}),
        machine=platform.machine(),
        batch_size=min(audit.recipe.runtime.batch_size, len(images)),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if found.trial_id is None or runtime.name == ExternalRuntime.name:
        # How long a command takes says nothing of the device behind it.
        return found
    batch = audit.model.preprocessing(np.asarray(images[: found.batch_size]))
    prepared = prepared_model(audit.model, audit.data.image_shape)
    plain = runtime.compile(prepared, None)
    served = load_candidate(audit, files, audit.recipe.runtime)
    names = served_names(files, runtime.name)
    sizes = (
        _float_bytes(prepared, plain, runtime.name),
        sum(len(files[name]) for name in names),
    )
    measured = measure_in_turn({"float_": plain, "candidate": served}, batch, sizes)
    return found.model_copy(update=measured)


def measure_in_turn(
    models: Mapping[str, "Predictor"], batch: np.ndarray, sizes: Sequence[int]
) -> dict[str, Any]:
    """Measure float model and candidate in turn, so that what else runs here meets both alike.

    ``sizes`` are their bytes. Up to `ROUNDS` rounds, and no further one after `ENOUGH` seconds.

    Returns:
        Their :class:`.ModelSpeed` by name, ``rounds``, ``one_image`` and ``batches``, see
        :class:`.CandidateSpeed`.
    """
    from ptq_pipeline.runtimes import measure_speed

    started, rounds = time.monotonic(), []
    while len(rounds) < ROUNDS and (len(rounds) < 2 or time.monotonic() - started < ENOUGH):
        rounds.append([measure_speed(predictor, batch) for predictor in models.values()])
    found: dict[str, Any] = {
        name: ModelSpeed(
            bytes=size, **{key: median(each[i][key] for each in rounds) for key in rounds[0][i]}
        )
        for i, (name, size) in enumerate(zip(models, sizes, strict=True))
    }
    found["one_image"] = Ratio.of([a["latency_ms"] / b["latency_ms"] for a, b in rounds])
    found["batches"] = Ratio.of(
        [b["images_per_second"] / a["images_per_second"] for a, b in rounds]
    )
    return found | {"rounds": len(rounds)}


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
