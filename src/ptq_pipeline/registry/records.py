"""The append-only log: one file per record, each carrying the hash of the one before.

A record is written before the champion pointer moves, so the log is ahead of the pointer when a
process was killed in between, never behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal

from ptq_pipeline.core.canonical import file_bytes
from ptq_pipeline.core.chains import ChainError, Link, head_of, read_link
from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import PtqPipelineError, first_fault
from ptq_pipeline.core.files import write_once
from ptq_pipeline.registry.waivers import Waiver

# What the clock said, in records that were written when it was behind the log.
CLOCK = "clock"
HOLDS = "champion holds"
RESTORE = (
    "restore it from a backup (a promotion's record is also in its version, as record.json). "
    "Meanwhile the champion serves on and nothing can be promoted"
)


class RegistryError(PtqPipelineError):
    """The registry on disk cannot be read or changed as it is."""


class VerificationError(RegistryError):
    """A hash does not hold: something was edited, truncated or lost."""


class Kind(StrEnum):
    """What a record is about."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"
    WAIVER = "waiver"
    EXPIRY = "expiry"
    WITHDRAWAL = "withdrawal"
    OUTCOME = "outcome"
    POLICY = "policy"


class Record(Link):
    """One entry of the log, counted from 1.

    ``time`` is UTC, ISO 8601 with seconds, and never before that of the record before.
    """

    seal: ClassVar[str] = "record_hash"

    schema_version: Literal[1] = 1
    sequence: int
    kind: Kind
    time: str
    content: dict[str, Any]

    @property
    def day(self) -> date:
        """The day that the clock showed when it was written."""
        return datetime.fromisoformat(str(self.content.get(CLOCK, self.time))).date()

    @property
    def champion(self) -> str | None:
        """The version that this record makes the champion, or None."""
        moves = self.kind in (Kind.PROMOTION, Kind.ROLLBACK)
        return str(self.content["version"]) if moves else None


class Records(tuple[Record, ...]):
    """A log, oldest record first, and what its records add up to."""

    @property
    def moves(self) -> list[Record]:
        """Those that made a version the champion."""
        return [each for each in self if each.champion is not None]

    @property
    def promotions(self) -> dict[str, Record]:
        """The promotion of each version."""
        return {str(each.champion): each for each in self if each.kind is Kind.PROMOTION}

    def promotion(self, version: str) -> Record:
        """Return the promotion of one version.

        Raises:
            RegistryError: there is no such version.
        """
        found = self.promotions
        if version not in found:
            known = ", ".join(found) or "none"
            raise RegistryError(f"version '{version}' does not exist; the versions are {known}")
        return found[version]

    @property
    def served_before(self) -> str | None:
        """The version that served before the champion; None where there is none."""
        served = [each.champion for each in self.moves]
        return next((each for each in reversed(served[:-1]) if each != served[-1]), None)

    @property
    def unsolved(self) -> Record | None:
        """The last record of candidates that did not pass, such as *retraining needed*.

        Its field ``serve`` says whether the champion or the float model should serve meanwhile.
        None when what serves changed since, or the champion was shown to hold.
        """
        for record in reversed(self):
            if record.champion is not None or record.content.get("outcome") == HOLDS:
                return None
            if record.kind is Kind.OUTCOME and "serve" in record.content:
                return record
        return None

    def waivers_in_force(self, now: datetime) -> list[Waiver]:
        """Return the waivers in force, see `waivers_by_record`."""
        return list(self.waivers_by_record(now).values())

    def waivers_by_record(self, now: datetime) -> dict[int, Waiver]:
        """Return the waivers of which neither the clock nor a record has seen the last day pass.

        Those that were withdrawn are left out. A waiver's key is the number of its record.

        A clock that went backwards revives none: the log remembers what was seen to expire. A
        record that was written under a clock that ran ahead ends those before it, not those that
        are granted after it.
        """
        withdrawn = {each.content["waiver"] for each in self if each.kind is Kind.WITHDRAWAL}
        found = {}
        for record in self:
            if record.kind is Kind.WAIVER and record.sequence not in withdrawn:
                waiver = Waiver.read(record.content)
                days = [now.date(), *(each.day for each in self[record.sequence :])]
                if not waiver.has_expired(max(days)):
                    found[record.sequence] = waiver
        return found

    def next(self, kind: Kind, content: Mapping[str, Any], now: datetime) -> Record:
        """Return the record that follows; its time is never before that of the last one."""
        time = now.astimezone(UTC).isoformat(timespec="seconds")
        if self and time < self[-1].time:
            content, time = {**content, CLOCK: time}, self[-1].time
        length, last = head_of(self)
        return Record(
            sequence=length + 1, kind=kind, time=time, previous=last, content=dict(content)
        )

    def followed_by(self, record: Record) -> Records:
        """Return the log with its next record."""
        return Records((*self, record))


class Change(Document):
    """A change of the registry that was begun, by its record: written first, removed last.

    ``version`` is the one whose folder it writes; None when it writes none.
    """

    sequence: int
    record_hash: str
    version: str | None

    @classmethod
    def of(cls, record: Record) -> Change:
        """Return the change that a record is the record of."""
        version = record.champion if record.kind is Kind.PROMOTION else None
        return cls(sequence=record.sequence, record_hash=record.hash, version=version)

    def appended(self, records: Records) -> bool:
        """Whether its record is the last of the log."""
        return head_of(records)[1] == self.record_hash

    def waits(self, records: Records) -> bool:
        """Whether its record would be the next one of the log."""
        return len(records) == self.sequence - 1


class Log:
    """The files of the records in a folder: ``00000001.json`` and its successors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sequence: int) -> Path:
        """Return where a record is or would be."""
        return self.folder / f"{sequence:08d}.json"

    def read(self) -> Records:
        """Return all records after checking every hash of the chain.

        Raises:
            VerificationError: naming the first file that is missing, damaged, or does not match
                its own hash or the record before it.
        """
        records: list[Record] = []
        for name in sorted(path.name for path in self.folder.glob("[0-9]*.json")):
            path = self.path(len(records) + 1)
            if name != path.name:
                raise VerificationError(f"record '{path}' is missing from the log; {RESTORE}")
            try:
                record = read_link(Record, path.read_text(encoding="utf-8"), records)
                if record.sequence != len(records) + 1:
                    raise ChainError("is not the record of that number")
            except ChainError as error:
                raise VerificationError(f"record '{path}' {error}; {RESTORE}") from None
            except (OSError, ValueError) as error:
                raise VerificationError(
                    f"record '{path}' is truncated or damaged ({first_fault(error)}); {RESTORE}"
                ) from error
            records.append(record)
        return Records(records)

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
