"""What the champion answers on the audit images: what the next candidate is compared with.

`champion_baseline.json` stands in git, so that continuous integration compares with the champion
without a registry. Only a release or a rollback rewrites it.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptq_pipeline.errors import InputError

BASELINE_SCHEMA_VERSION = 1
BASELINE_FILE = "baseline.json"
_ADVICE = (
    "restore it from git, or run `kedro ptq promote` or `kedro ptq rollback`, which rewrite it"
)


@dataclass(frozen=True, eq=False)
class ChampionBaseline:
    """Answers and accuracies of one version.

    Attributes:
        evaluation: hash of the audit images; answers on other images cannot be compared.
        answers: top-1 classes int16 ``(N,)`` per shift, by ascending sample id.
        groups: per shift, level and group: ``n``, ``accuracy``, ``drop`` against the float model.
        version: the registry's version; None as long as it is a candidate.
        decision_hash: the decision that promoted it, likewise.
    """

    evaluation: str
    answers: Mapping[str, np.ndarray]
    groups: tuple[Mapping[str, Any], ...] = ()
    version: str | None = None
    decision_hash: str | None = field(default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file; equal baselines give equal content."""
        return {
            "schema_version": BASELINE_SCHEMA_VERSION,
            "version": self.version,
            "decision_hash": self.decision_hash,
            "evaluation": self.evaluation,
            "groups": [dict(group) for group in self.groups],
            "samples": len(next(iter(self.answers.values()), ())),
            "answers": {shift: _packed(values) for shift, values in self.answers.items()},
        }

    def to_bytes(self) -> bytes:
        """Return the bytes of the file."""
        return _json_bytes(self.to_json())

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "ChampionBaseline | None":
        """Read a baseline; None when there is no champion yet.

        Raises:
            InputError: the content is damaged or of another schema version.
        """
        if content.get("schema_version") != BASELINE_SCHEMA_VERSION:
            raise InputError(
                f"champion_baseline.json has schema version {content.get('schema_version')}; this "
                f"version reads {BASELINE_SCHEMA_VERSION}: {_ADVICE}"
            )
        if content.get("evaluation") is None:
            return None
        try:
            samples = int(content["samples"])
            return cls(
                evaluation=content["evaluation"],
                answers={
                    shift: _unpacked(text, samples) for shift, text in content["answers"].items()
                },
                groups=tuple(content["groups"]),
                version=content["version"],
                decision_hash=content["decision_hash"],
            )
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise InputError(f"champion_baseline.json is damaged ({error}): {_ADVICE}") from error


def no_champion() -> bytes:
    """Return the content of `champion_baseline.json` before the first promotion."""
    return _json_bytes(
        {"schema_version": BASELINE_SCHEMA_VERSION, "version": None, "evaluation": None}
    )


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(np.asarray(values, "<i2").tobytes(), 9)).decode()


def _unpacked(text: str, samples: int) -> np.ndarray:
    # No more than the announced samples are ever unpacked, whatever the file holds.
    content = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), 2 * samples)
    values = np.frombuffer(content, "<i2").astype(np.int16)
    if len(values) != samples:
        raise ValueError(f"{len(values)} answers instead of {samples}")
    return values


def _json_bytes(content: Any) -> bytes:
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
