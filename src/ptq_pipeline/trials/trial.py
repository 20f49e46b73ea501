"""A trial: what decides it, what came of it, and where that is kept, never by pickle."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.files import replacing

if TYPE_CHECKING:
    from ptq_pipeline.ptq import MethodConfig
    from ptq_pipeline.trials.evaluation import Evaluation

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class TrialSpec:
    """A small JSON-ready description of one trial.

    Attributes:
        model: fingerprint of the float model, its preprocessing and its classes.
        method: the quantization method; None evaluates the float model itself.
        calibration_set: id of the calibration set; None for the float model.
        evaluation: hash of the evaluated samples in their order, see :func:`evaluation_hash`.
        shifts: name and options of every shift, in the order of evaluation.
        runtime: name, version, threads and CPU flags of what executes the model.
        engine: version of the quantization engine.
        statistics: hash of the grid that activations were counted on, where it is shared by all
            draws and so decides about their ranges; left out of the JSON form when there is none.
        repeat: number of the seed of everything random in the method, from 0 on; left out of the
            JSON form when it is 0.
        sampled: hash of what decides which of the samples are evaluated, see
            `judgement.sampling`; left out of the JSON form when all are.
    """

    model: str
    method: "MethodConfig | None"
    calibration_set: str | None
    evaluation: str
    shifts: Mapping[str, Mapping[str, Any]]
    runtime: Mapping[str, Any]
    engine: str
    statistics: str | None = None
    repeat: int = 0
    sampled: str | None = None

    @cached_property
    def trial_id(self) -> str:
        """First 16 hexadecimal digits of the hash of the canonical JSON form."""
        return canonical_hash(self.to_json())[:16]

    @property
    def method_seed(self) -> int:
        """Seed of everything random in the method, see `ptq_pipeline.ptq.method_seed`."""
        from ptq_pipeline.ptq import method_seed

        return method_seed(self.model, self.method, self.calibration_set, self.repeat)

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        content = {each.name: getattr(self, each.name) for each in fields(self)}
        content["method"] = None if self.method is None else self.method.to_json()
        if self.statistics is None:
            del content["statistics"]
        if not self.repeat:
            del content["repeat"]
        if self.sampled is None:
            del content["sampled"]
        return content


@dataclass(frozen=True)
class TrialOutcome:
    """What came of one trial.

    Attributes:
        predictions: top-1 classes ``(N,)`` int32 per shift; None when the trial failed.
        error: why it failed, or "".
        notes: fallbacks that its quantization took, one sentence each.
    """

    spec: TrialSpec
    predictions: Mapping[str, np.ndarray] | None
    error: str = ""
    notes: tuple[str, ...] = ()

    def table(self, evaluation: "Evaluation") -> pd.DataFrame:
        """Return ``trial_id``, ``shift``, ``sample_id``, ``predicted`` of a trial that was done."""
        ids = evaluation.samples["sample_id"].to_numpy()
        tables = [
            pd.DataFrame({"shift": shift, "sample_id": ids, "predicted": predicted})
            for shift, predicted in (self.predictions or {}).items()
        ]
        table = pd.concat(tables, ignore_index=True)
        table.insert(0, "trial_id", self.spec.trial_id)
        return table


class TrialStore:
    """A folder with one ``.safetensors`` file per finished trial.

    A file holds the top-1 classes ``(N,)`` int32 of every shift, -1 where a sampled trial has none,
    and as metadata the schema version, the trial's spec, the SHA-256 of the predictions and the
    notes of its quantization.

    Args:
        root: the folder; made when the first result is put.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def statistics(self) -> Path:
        """Where statistics of single images are kept, beside the results."""
        return self.root / "statistics"

    def path(self, spec: TrialSpec) -> Path:
        """Return where the result of ``spec`` is or would be."""
        return self.root / spec.trial_id[:2] / f"{spec.trial_id}.safetensors"

    def get(self, spec: TrialSpec) -> TrialOutcome | None:
        """Return the outcome, or None when the trial has to be computed.

        A damaged file, one of another schema or of another spec is reported and counts as absent.
        """
        from safetensors import SafetensorError, safe_open

        path = self.path(spec)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as stored:
                metadata = stored.metadata() or {}
                predictions = {name: stored.get_tensor(name) for name in spec.shifts}
            notes = tuple(json.loads(metadata["trial"]).get("notes", ()))
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            log.warning("stored trial '%s' is damaged (%s) and is computed again", path, error)
            return None
        if metadata != _metadata(spec, predictions, notes):
            log.warning("stored trial '%s' does not match its spec and is computed again", path)
            return None
        return TrialOutcome(spec, predictions, notes=notes)

    def put(
        self, spec: TrialSpec, predictions: Mapping[str, np.ndarray], notes: Sequence[str] = ()
    ) -> None:
        """Keep the predictions of ``spec``, ``(N,)`` int32 per shift, and its notes."""
        from safetensors.numpy import save_file

        arrays = {name: np.ascontiguousarray(predictions[name], np.int32) for name in spec.shifts}
        with replacing(self.path(spec)) as scratch:
            save_file(arrays, scratch, _metadata(spec, arrays, notes))


def _metadata(
    spec: TrialSpec, predictions: Mapping[str, np.ndarray], notes: Sequence[str]
) -> dict[str, str]:
    digest = hashlib.sha256()
    for name in spec.shifts:
        digest.update(name.encode() + np.ascontiguousarray(predictions[name]).tobytes())
    content = {
        "schema_version": SCHEMA_VERSION,
        "spec": spec.to_json(),
        "sha256": digest.hexdigest(),
    }
    if notes:
        content["notes"] = list(notes)
    # One entry: the format keeps the order of several only by chance, and files shall be equal.
    return {"trial": json.dumps(content, sort_keys=True)}
