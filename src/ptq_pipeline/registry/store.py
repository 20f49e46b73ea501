"""The registry on disk: versions, the log, the champion pointer, and one change at a time.

What serves reads the pointer and the version's folder, nothing else. A change writes, in this
order: its intent, the version's folder, the record, the pointer, the baseline; then it takes the
intent away. A process killed in between leaves the old champion serving and complete; the next
change first finishes what was recorded, or undoes what was not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from ptq_pipeline.core.canonical import file_bytes
from ptq_pipeline.core.documents import READING, Document
from ptq_pipeline.core.errors import InputError, first_fault
from ptq_pipeline.core.files import clean, remove, write_file, write_folder
from ptq_pipeline.judgement.baseline import WAY_OUT, Baseline
from ptq_pipeline.registry.records import (
    Change,
    Log,
    Record,
    Records,
    RegistryError,
    VerificationError,
)

# What a candidate answers on the audit images: `champion_baseline.json` once it serves.
ANSWERS_FILE = "baseline.json"
RECORD_FILE = "record.json"
CARD_FILE = "MODEL_CARD.md"
VERSION = re.compile(r"v\d{4,}")
LOCK_SECONDS = 10.0


def baseline_bytes(baseline: Baseline | None = None) -> bytes:
    """Return the bytes of a baseline's file; without one, those before the first promotion."""
    return file_bytes((baseline or Baseline()).to_json())


class Pointer(Document):
    """Which version serves, and the record that made it the champion."""

    schema_version: Literal[1] = 1
    version: str
    record_hash: str


@dataclass(frozen=True)
class Champion:
    """What serves now, the record that made it the champion, and where its files are."""

    version: str
    record_hash: str
    folder: Path


@dataclass(frozen=True)
class Store:
    """The files of a registry, each read and written as a whole.

    Its ``baseline``, `champion_baseline.json`, is outside its ``root``, in git, so that continuous
    integration compares with the champion without a registry.
    """

    root: Path
    baseline: Path

    @property
    def log(self) -> Log:
        """The append-only log."""
        return Log(self.root / "log")

    @property
    def pending(self) -> Path:
        """The file that names the change that was begun and is not finished."""
        return self.root / "pending.json"

    @property
    def pointer(self) -> Path:
        """The file that names the champion."""
        return self.root / "champion.json"

    @property
    def is_here(self) -> bool:
        """Whether anything of the registry is on this machine; a clone of the project has none."""
        return any(
            path.exists() for path in (self.log.folder, self.root / "versions", self.pointer)
        )

    def folder(self, version: str) -> Path:
        """Return where a version's files are."""
        return self.root / "versions" / version

    def versions(self) -> list[str]:
        """Return the versions that have a folder."""
        folder = self.root / "versions"
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(name for name in names if VERSION.fullmatch(name))

    def champion(self) -> Champion | None:
        """Return what serves now, from the pointer alone; None before the first promotion.

        Raises:
            VerificationError: the pointer is damaged or names a version that is not there.
        """
        try:
            named = Pointer.model_validate_json(self.pointer.read_bytes(), context=READING)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise VerificationError(
                f"the champion pointer '{self.pointer}' is damaged ({first_fault(error)}); "
                "`kedro ptq recover` writes it again from the log"
            ) from error
        folder = self.folder(named.version)
        if not VERSION.fullmatch(named.version) or not folder.is_dir():
            raise VerificationError(
                f"the champion pointer '{self.pointer}' names version {named.version}, but "
                f"'{folder}' does not exist; restore the folder, or `kedro ptq rollback --to "
                "VERSION` of one that `kedro ptq history` lists"
            )
        return Champion(named.version, named.record_hash, folder)

    def pointed(self) -> Pointer | None:
        """Return what the pointer says; None where it cannot be read."""
        try:
            return Pointer.model_validate_json(self.pointer.read_bytes(), context=READING)
        except (OSError, ValueError):
            return None

    def switch(self, record: Record) -> None:
        """Make the version of a record the champion, atomically.

        Raises:
            VerificationError: that version's folder is not there.
        """
        version = str(record.champion)
        if not self.folder(version).is_dir():
            raise VerificationError(
                f"version {version} is in the log but '{self.folder(version)}' does not exist; "
                "restore it from a backup before anything else is promoted"
            )
        pointer = Pointer(version=version, record_hash=record.hash)
        write_file(self.pointer, file_bytes(pointer.to_json()))

    def pending_change(self) -> Change | None:
        """Return the change that was begun and is not finished; None as a rule.

        Raises:
            VerificationError: its file is damaged.
        """
        try:
            return Change.model_validate_json(self.pending.read_bytes(), context=READING)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise VerificationError(
                f"'{self.pending}', which names the change that was begun last, is damaged "
                f"({first_fault(error)}): move it away; if something else differs then, it is said"
            ) from error

    def change(
        self, records: Records, record: Record, files: Mapping[str, bytes] | None = None
    ) -> None:
        """Write the record that follows ``records``, with the files of the version it promotes."""
        write_file(self.pending, file_bytes(Change.of(record).to_json()))
        if files is not None:
            write_folder(self.folder(str(record.champion)), files)
        self.log.append(record)
        self._complete(records.followed_by(record))

    def _complete(self, records: Records) -> None:
        if records[-1].champion is not None:
            self.switch(records[-1])
        self.write_baseline(records)
        remove(self.pending)

    def interrupted(self, records: Records) -> Record | None:
        """Return the last record if a process was killed before it had done what it says."""
        change = self.pending_change()
        return records[-1] if change is not None and change.appended(records) else None

    def finish(self, change: Change, records: Records) -> None:
        """Finish a change whose record is written; undo one whose record is not.

        Raises:
            VerificationError: what it is about is damaged, or belongs to another log.
        """
        if change.appended(records):
            self._complete(records)
            return
        if not change.waits(records):
            raise VerificationError(
                f"'{self.pending}' is about record {change.sequence}, and the log ends with record "
                f"{len(records)}: one of the two is of another time; restore the log from a "
                "backup, or move that file away"
            )
        if change.version is not None:
            self._undo(change, change.version)
        remove(self.pending)

    def _undo(self, change: Change, version: str) -> None:
        """Remove the folder that a killed process wrote and had not yet recorded."""
        folder = self.folder(version)
        try:
            own = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))[Record.seal]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError):
            own = None
        if own != change.record_hash:
            raise VerificationError(
                f"'{folder}' is not what '{self.pending}' says was being written there; move the "
                "folder out of the registry"
            )
        remove(folder)

    def known(self) -> Baseline:
        """Return what `champion_baseline.json` says.

        Raises:
            InputError: it is missing, damaged or edited.
        """
        try:
            content = json.loads(self.baseline.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"'{self.baseline}' cannot be read ({error}): {WAY_OUT}") from error
        return Baseline.read(content, str(self.baseline))

    def write_baseline(self, records: Records) -> None:
        """Write where git keeps it what the champion answers, and the head of the log."""
        content = baseline_bytes(self.baseline_after(records))
        if not self.baseline.is_file() or self.baseline.read_bytes() != content:
            write_file(self.baseline, content)

    def baseline_after(self, records: Records) -> Baseline:
        """Return what `champion_baseline.json` says after these records.

        Raises:
            VerificationError: the champion's own baseline is missing or was changed.
        """
        own = Baseline()
        if moves := records.moves:
            version = str(moves[-1].champion)
            promoted = records.promotion(version).content
            own = self._answers(version, promoted["files"].get(ANSWERS_FILE))
            own = own.served_as(version, promoted["decision_hash"])
        return own.at(len(records), records[-1].hash if records else None)

    def _answers(self, version: str, digest: str | None) -> Baseline:
        path = self.folder(version) / ANSWERS_FILE
        try:
            content = path.read_bytes()
            if sha256(content).hexdigest() != digest:
                raise ValueError("it is not the one that was promoted")
            return Baseline.read(json.loads(content), str(path))
        except (OSError, ValueError) as error:
            raise VerificationError(
                f"version {version}: '{path}' is missing or damaged ({error}); restore the "
                "version's folder from a backup, or `kedro ptq rollback --to VERSION` of another "
                "one"
            ) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of all changes.

        Raises:
            RegistryError: another process holds it for too long.
        """
        try:
            with FileLock(self.root / "lock", timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise RegistryError(
                f"another process has been changing the registry '{self.root}' for "
                f"{LOCK_SECONDS:.0f} s; try again when it is done"
            ) from None

    def clean(self) -> None:
        """Remove what killed processes left of their writing."""
        for folder in (self.root, self.log.folder, self.root / "versions", self.baseline.parent):
            clean(folder)
