"""The append-only log: one file per record, each carrying the hash of the one before.

A record is written before the champion pointer moves, so the log is ahead of the pointer when a
process was killed in between, never behind it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from ptq_pipeline.core.canonical import canonical_hash, file_bytes
from ptq_pipeline.core.files import write_once
from ptq_pipeline.registry.errors import RegistryError, VerificationError

RECORD_SCHEMA_VERSION = 1
HASH = "record_hash"
# What the clock said, in records that were written when it was behind the log.
CLOCK = "clock"
RESTORE = (
    "restore it from a backup (a promotion's record also stands in its version, as record.json). "
    "Meanwhile the champion serves on and nothing can be promoted"
)


class Kind(StrEnum):
    """What a record is about."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"
    WAIVER = "waiver"
    EXPIRY = "expiry"
    OUTCOME = "outcome"


@dataclass(frozen=True)
class Record:
    """One entry of the log.

    Attributes:
        sequence: position, from 1.
        kind: what happened.
        time: UTC, ISO 8601 with seconds; never before that of the record before. Order is given by
            `sequence`.
        previous: hash of the record before; None for the first one.
        content: what this kind of record holds.
    """

    sequence: int
    kind: Kind
    time: str
    previous: str | None
    content: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """Canonical hash of everything else."""
        return canonical_hash(self._sealed())

    @property
    def day(self) -> date:
        """The day that the clock showed when it was written."""
        return datetime.fromisoformat(str(self.content.get(CLOCK, self.time))).date()

    @property
    def champion(self) -> str | None:
        """The version that this record makes the champion, or None."""
        moves = self.kind in (Kind.PROMOTION, Kind.ROLLBACK)
        return str(self.content["version"]) if moves else None

    def to_json(self) -> dict[str, Any]:
        """Return the content of the record's file."""
        return {**self._sealed(), HASH: self.hash}

    def _sealed(self) -> dict[str, Any]:
        return {
            "schema_version": RECORD_SCHEMA_VERSION,
            "sequence": self.sequence,
            "kind": str(self.kind),
            "time": self.time,
            "previous": self.previous,
            "content": dict(self.content),
        }


@dataclass(frozen=True)
class Change:
    """A change of the registry that was begun: written first, removed last.

    Attributes:
        sequence: number of its record.
        record_hash: the record.
        version: the version whose folder it writes; None when it writes none.
    """

    sequence: int
    record_hash: str
    version: str | None

    @classmethod
    def of(cls, record: Record) -> "Change":
        """Return the change that a record is the record of."""
        version = record.champion if record.kind is Kind.PROMOTION else None
        return cls(record.sequence, record.hash, version)

    def appended(self, records: tuple[Record, ...]) -> bool:
        """Whether its record is the last of the log."""
        return bool(records) and records[-1].hash == self.record_hash

    def waits(self, records: tuple[Record, ...]) -> bool:
        """Whether its record would be the next one of the log."""
        return len(records) == self.sequence - 1


class Log:
    """The records of one registry.

    Args:
        folder: where ``00000001.json`` and its successors stand.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sequence: int) -> Path:
        """Return where a record stands or would stand."""
        return self.folder / f"{sequence:08d}.json"

    def read(self) -> tuple[Record, ...]:
        """Return all records, oldest first, after checking every hash of the chain.

        Raises:
            VerificationError: naming the first file that is missing, damaged, or does not match
                its own hash or the record before it.
        """
        names = sorted(path.name for path in self.folder.glob("[0-9]*.json"))
        records: list[Record] = []
        for sequence, name in enumerate(names, 1):
            expected = self.path(sequence)
            if name != expected.name:
                raise VerificationError(f"record '{expected}' is missing from the log; {RESTORE}")
            record = _read(expected, sequence)
            before = records[-1].hash if records else None
            if record.previous != before:
                raise VerificationError(
                    f"record '{expected}' does not follow the record before it: one of the two "
                    f"was edited; {RESTORE}"
                )
            records.append(record)
        return tuple(records)

    def append(self, record: Record) -> None:
        """Write the next record.

        Raises:
            RegistryError: a record of that number exists already.
        """
        try:
            write_once(self.path(record.sequence), file_bytes(record.to_json()))
        except FileExistsError:
            raise RegistryError(
                f"record '{self.path(record.sequence)}' exists already: another process wrote to "
                "this registry without its lock; look at `kedro ptq history`"
            ) from None


def _read(path: Path, sequence: int) -> Record:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        record = Record(
            sequence=content["sequence"],
            kind=Kind(content["kind"]),
            time=content["time"],
            previous=content["previous"],
            content=content["content"],
        )
        seal = content[HASH]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VerificationError(
            f"record '{path}' is truncated or damaged ({error}); {RESTORE}"
        ) from error
    if record.to_json() != content or record.hash != seal or record.sequence != sequence:
        raise VerificationError(
            f"record '{path}' does not match its hash: it was edited after it was written; "
            f"{RESTORE}"
        )
    return record
