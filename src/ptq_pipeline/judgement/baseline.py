"""The answers of the model that serves, ``champion_baseline.json``: small enough to be in git.

It keeps each answer, not only the drop of each group, so that a candidate is compared *paired*, and
groups may change between two audits.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SkipValidation,
)

from ptq_pipeline.core.documents import READING, Document, SealedDocument
from ptq_pipeline.core.errors import InputError, first_fault
from ptq_pipeline.core.group_ids import CellDocument

CHAMPION_FILE = "champion_baseline.json"
BASELINE_SCHEMA_VERSION: Final = 2
UNSEALED_VERSION = 1
# Types of the answers in the file, the narrowest that holds all of them.
PACKED = ("uint8", "<u2", "<u4")
WAY_OUT = (
    "restore it from git, or run `kedro ptq recover` where the registry is, which writes it again"
)


def _packed(answers: NDArray[np.int64]) -> dict[str, Any]:
    """Bytes as base64, no compression: its output differs between versions of the library."""
    largest = answers.max(initial=0)
    kind = next(each for each in PACKED if largest <= np.iinfo(each).max)
    raw = answers.astype(kind).tobytes()
    return {"dtype": kind, "n": int(answers.size), "data": base64.b64encode(raw).decode()}


def _unpacked(part: Any) -> NDArray[np.int64]:
    if isinstance(part, np.ndarray):
        return part.astype(np.int64)
    if not isinstance(part, Mapping) or not isinstance(part.get("data"), str):
        raise ValueError("no packed answers")
    if part.get("dtype") not in PACKED:
        raise ValueError(f"unknown type of answers '{part.get('dtype')}'")
    raw = base64.b64decode(part["data"], validate=True)
    answers = np.frombuffer(raw, dtype=part["dtype"]).astype(np.int64)
    if answers.size != part.get("n"):
        raise ValueError(f"{answers.size} answers instead of {part.get('n')}")
    return answers


PackedAnswers = Annotated[
    SkipValidation[NDArray[np.int64]], BeforeValidator(_unpacked), PlainSerializer(_packed)
]


class ChampionName(Document):
    """What a decision says it was compared with."""

    version: str | None
    decision_hash: str | None


class GroupFigures(CellDocument):
    """One cell for people: accuracy and drop against the float model, fractions."""

    n: int
    drop: float
    accuracy: float


class LogHead(Document):
    """How long the registry's log was, and the hash of its last record; None where it had none."""

    records: int = 0
    head: str | None = None


class Baseline(SealedDocument):
    """Answers of one quantized model on the audit images.

    Attributes:
        version: The registry's name of the model; None for a candidate that is not released, and
            for the empty baseline.
        trial_id: The trial whose answers these are; None when nothing serves yet.
        audit_hash: Hash of the audit images in the order of the answers.
        shifts: Options of every shift.
        answers: Class index per audit image, by shift, int64, shape (samples,).
        groups: What people read.
        sealed: Whether the file carried its own hash; those of earlier releases did not.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    seal: ClassVar[str] = "baseline_hash"
    called: ClassVar[str] = CHAMPION_FILE
    way_out: ClassVar[str] = WAY_OUT

    schema_version: Literal[2] = BASELINE_SCHEMA_VERSION
    version: str | None = None
    decision_hash: str | None = None
    trial_id: str | None = None
    audit_hash: str | None = None
    shifts: dict[str, dict[str, Any]] = Field(default_factory=dict)
    answers: dict[str, PackedAnswers] = Field(default_factory=dict)
    groups: tuple[GroupFigures, ...] = ()
    log: LogHead = LogHead()
    sealed: bool = Field(default=True, exclude=True)

    @property
    def serves(self) -> bool:
        """Whether there is a model at all."""
        return self.trial_id is not None

    @property
    def champion(self) -> ChampionName | None:
        """What a decision says it was compared with; None for nothing."""
        if not self.serves:
            return None
        return ChampionName(version=self.version, decision_hash=self.decision_hash)

    def served_as(self, version: str, decision_hash: str) -> Baseline:
        """Return the baseline of this model once it serves."""
        return self.model_copy(update={"version": version, "decision_hash": decision_hash})

    def at(self, records: int, head: str | None) -> Baseline:
        """Return it with the length and the head of the registry's log."""
        return self.model_copy(update={"log": LogHead(records=records, head=head), "sealed": True})

    @classmethod
    def read(cls, content: Mapping[str, Any], name: str = CHAMPION_FILE) -> Self:
        """Read a baseline from the file ``name`` and check its hash.

        Raises:
            InputError: If it is of another schema version, incomplete, damaged or edited.
        """
        version = content.get("schema_version") if isinstance(content, Mapping) else None
        if version not in (UNSEALED_VERSION, BASELINE_SCHEMA_VERSION):
            raise InputError(
                f"'{name}' has schema version {version}; this release reads "
                f"{BASELINE_SCHEMA_VERSION}: {WAY_OUT}"
            )
        sealed = version != UNSEALED_VERSION
        said = {key: value for key, value in content.items() if key != cls.seal} | {
            "sealed": sealed
        }
        if not sealed:
            said |= {"schema_version": BASELINE_SCHEMA_VERSION, "log": LogHead().to_json()}
        try:
            found = cls.model_validate(said, context=READING)
            if missing := set(cls.model_fields) - set(said):
                raise ValueError(f"{min(missing)} is missing")
        except ValueError as error:
            complaint = first_fault(error)
            raise InputError(
                f"'{name}' is incomplete or damaged ({complaint}): {WAY_OUT}"
            ) from error
        if sealed and found.to_json() != dict(content):
            raise InputError(
                f"'{name}' does not match its hash: it was edited after it was written: {WAY_OUT}"
            )
        return found


def audit_hash(content_hashes: Iterable[str]) -> str:
    """Hash of images in their order; ids and labels may change without making it another one."""
    return hashlib.sha256("".join(f"{value}\n" for value in content_hashes).encode()).hexdigest()
