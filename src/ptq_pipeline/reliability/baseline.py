"""What the version that serves today answered on the audit images, small enough to stand in git.

Keeping each answer, not only the drop of each group, lets a candidate be compared *paired*: on the
same images, so that only answers that differ count. Groups may change between the two audits.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptq_pipeline.canonical import canonical_hash
from ptq_pipeline.errors import InputError

BASELINE_SCHEMA_VERSION = 2
UNSEALED_VERSIONS = (1,)
HASH = "baseline_hash"
BASELINE_FILE = "champion_baseline.json"
# Types of the answers in the file, the narrowest that holds all of them.
PACKED = ("uint8", "<u2", "<u4")
WAY_OUT = (
    "restore it from git, or run `kedro ptq repair` where the registry is, which writes it again"
)


@dataclass(frozen=True)
class Baseline:
    """Answers of one quantized model on the audit images.

    Attributes:
        version: The registry's name of the model; None for a candidate that is not released, and
            for the empty baseline.
        decision_hash: The decision that released it.
        trial_id: The trial whose answers these are; None when nothing serves yet.
        audit_hash: Hash of the audit images in the order of the answers.
        shifts: Name and options of every shift.
        answers: Class index per audit image, by shift, shape (samples,).
        groups: For people: level, group, shift, n, accuracy and drop against the float model.
        records: How many records the registry's log held when this was written.
        head: Hash of the last of them; None where there was none.
        sealed: Whether the file carried its own hash; those of earlier releases did not.
    """

    version: str | None = None
    decision_hash: str | None = None
    trial_id: str | None = None
    audit_hash: str | None = None
    shifts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    answers: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    groups: tuple[Mapping[str, Any], ...] = ()
    records: int = 0
    head: str | None = None
    sealed: bool = True

    @property
    def hash(self) -> str:
        """Canonical hash of everything that the file says."""
        return canonical_hash(self._content())

    @property
    def serves(self) -> bool:
        """Whether there is a model at all."""
        return self.trial_id is not None

    @property
    def champion(self) -> dict[str, str | None] | None:
        """What a decision says it was compared with; None for nothing."""
        if not self.serves:
            return None
        return {"version": self.version, "decision_hash": self.decision_hash}

    def served_as(self, version: str, decision_hash: str) -> Baseline:
        """Return the baseline of this model once it serves."""
        return replace(self, version=version, decision_hash=decision_hash)

    def at(self, records: int, head: str | None) -> Baseline:
        """Return it with the length and the head of the registry's log."""
        return replace(self, records=records, head=head, sealed=True)

    def to_json(self) -> dict[str, Any]:
        """JSON types; equal answers give equal bytes."""
        return {**self._content(), HASH: self.hash}

    def _content(self) -> dict[str, Any]:
        return {
            "schema_version": BASELINE_SCHEMA_VERSION,
            "version": self.version,
            "decision_hash": self.decision_hash,
            "trial_id": self.trial_id,
            "audit_hash": self.audit_hash,
            "shifts": {name: dict(options) for name, options in self.shifts.items()},
            "answers": {name: _packed(values) for name, values in self.answers.items()},
            "groups": [dict(group) for group in self.groups],
            "log": {"records": self.records, "head": self.head},
        }

    @classmethod
    def from_json(
        cls, content: Mapping[str, Any], name: str = "champion_baseline.json"
    ) -> Baseline:
        """Read a baseline and check its hash.

        Args:
            content: What :meth:`to_json` returned.
            name: The file, for the error.

        Raises:
            InputError: If it is of another schema version, incomplete, damaged or edited.
        """
        version = content.get("schema_version") if isinstance(content, Mapping) else None
        if version not in (*UNSEALED_VERSIONS, BASELINE_SCHEMA_VERSION):
            raise InputError(
                f"'{name}' has schema version {version}; this release reads "
                f"{BASELINE_SCHEMA_VERSION}: {WAY_OUT}"
            )
        sealed = version not in UNSEALED_VERSIONS
        try:
            log: Mapping[str, Any] = content["log"] if sealed else {"records": 0, "head": None}
            found = cls(
                version=content["version"],
                decision_hash=content["decision_hash"],
                trial_id=content["trial_id"],
                audit_hash=content["audit_hash"],
                shifts={key: dict(options) for key, options in content["shifts"].items()},
                answers={key: _unpacked(part) for key, part in content["answers"].items()},
                groups=tuple(dict(group) for group in content["groups"]),
                records=log["records"],
                head=log["head"],
                sealed=sealed,
            )
            edited = sealed and found.to_json() != dict(content)
        except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
            raise InputError(f"'{name}' is incomplete or damaged ({error}): {WAY_OUT}") from error
        if edited:
            raise InputError(
                f"'{name}' does not match its hash: it was edited after it was written: {WAY_OUT}"
            )
        return found


def audit_hash(content_hashes: Iterable[str]) -> str:
    """Hash of images in their order; ids and labels may change without making it another one."""
    digest = hashlib.sha256()
    for value in content_hashes:
        digest.update(value.encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _packed(answers: NDArray[np.int64]) -> dict[str, Any]:
    """Bytes as base64, no compression: its output differs between versions of the library."""
    largest = answers.max(initial=0)
    kind = next(each for each in PACKED if largest <= np.iinfo(each).max)
    raw = answers.astype(kind).tobytes()
    return {"dtype": kind, "n": int(answers.size), "data": base64.b64encode(raw).decode()}


def _unpacked(part: Mapping[str, Any]) -> NDArray[np.int64]:
    if part["dtype"] not in PACKED:
        raise ValueError(f"unknown type of answers '{part['dtype']}'")
    raw = base64.b64decode(part["data"], validate=True)
    answers = np.frombuffer(raw, dtype=part["dtype"]).astype(np.int64)
    if answers.size != part["n"]:
        raise ValueError(f"{answers.size} answers instead of {part['n']}")
    return answers
