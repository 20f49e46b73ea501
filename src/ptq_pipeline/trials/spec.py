"""What decides the outcome of a trial, and nothing else."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ptq_pipeline.core.canonical import canonical_hash, canonical_json

if TYPE_CHECKING:
    from ptq_pipeline.ptq import MethodConfig


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
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TrialSpec":
        """Rebuild a spec from :meth:`to_json`."""
        from ptq_pipeline.ptq import method_from_json

        method = content["method"]
        return cls(**{**content, "method": None if method is None else method_from_json(method)})


def evaluation_hash(
    sample_ids: np.ndarray, content_hashes: Iterable[str], shifted: Mapping[str, str] | None = None
) -> str:
    """Return the hash of which samples are evaluated, with which pixels, in which order.

    Args:
        sample_ids: ``(N,)`` integers.
        content_hashes: SHA-256 (hex) of each sample's own pixels.
        shifted: SHA-256 (hex) of the pixels of all samples under each shift other than clean.
    """
    digest = hashlib.sha256(np.ascontiguousarray(sample_ids, np.int64).tobytes())
    for value in content_hashes:
        digest.update(bytes.fromhex(value))
    for name, value in sorted((shifted or {}).items()):
        digest.update(canonical_json([name, value]))
    return digest.hexdigest()
