"""What a worker does: prove that it is the same kind of machine, then answer specs."""

import hashlib
import platform
import traceback
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.provenance import cpu_flags
from ptq_pipeline.trials.spec import TrialSpec
from ptq_pipeline.trials.workload import TrialOutcome, Workload

PACKAGES = ("ptq-pipeline", "numpy", "torch", "torchvision", "openvino", "onnxruntime")
# Parts of this package that decide what a trial answers.
DECIDING = ("ptq", "runtimes", "models", "trials")


@cache
def environment() -> dict[str, Any]:
    """Return what must be equal on all workers for equal results."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "machine": platform.machine(),
        "cpu_flags": cpu_flags(),
        "source code": _source_hash(),
        **{name: _version(name) for name in PACKAGES},
    }


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return in words how a worker's environment differs, or ""."""
    return "; ".join(
        f"{key} is {found.get(key)} there and {expected.get(key)} here"
        for key in sorted({*expected, *found})
        if expected.get(key) != found.get(key)
    )


def answer(workload: Workload, spec: Mapping[str, Any]) -> tuple[str, Any]:
    """Run one trial and return ``(kind, content)``.

    Kinds: ``done`` with predictions by shift and notes, ``failed`` with the reason, ``crashed``
    with a traceback when something went wrong that a trial cannot be blamed for.
    """
    try:
        outcome = workload.run(TrialSpec.from_json(spec))
    except Exception:
        return "crashed", traceback.format_exc()
    if outcome.predictions is None:
        return "failed", outcome.error
    return "done", (dict(outcome.predictions), outcome.notes)


def outcome_of(spec: TrialSpec, kind: str, content: Any) -> TrialOutcome:
    """Return the outcome that an answer stands for.

    Raises:
        InputError: the worker crashed in a way that no other worker would change.
    """
    if kind == "done":
        predictions, notes = content
        return TrialOutcome(spec, predictions, notes=notes)
    if kind == "failed":
        return TrialOutcome(spec, None, content)
    reason = str(content).strip().splitlines()[-1]
    raise InputError(
        f"a worker could not run trial {spec.trial_id}: {reason}\n\nThe worker's traceback:\n"
        f"{content}"
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _source_hash() -> str:
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for folder in DECIDING:
        for path in sorted((package / folder).rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]
