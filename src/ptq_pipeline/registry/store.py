"""The registry on disk: versions, the log, the champion pointer, and repair after a crash.

What serves reads the pointer and the version's folder, nothing else. A change writes, in this
order: its intent, the version's folder, the record, the pointer, the baseline; then it takes the
intent away. A process killed in between leaves the old champion serving and complete; the next
change first finishes what was recorded, or undoes what was not.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ptq_pipeline.core.canonical import file_bytes
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import clean, remove, write_file, write_folder
from ptq_pipeline.judgement.baseline import WAY_OUT, Baseline
from ptq_pipeline.registry import agreement
from ptq_pipeline.registry.baseline import BASELINE_FILE, baseline_bytes
from ptq_pipeline.registry.errors import RegistryError, VerificationError
from ptq_pipeline.registry.records import HASH, Change, Kind, Log, Record
from ptq_pipeline.registry.waivers import Waiver

POINTER_SCHEMA_VERSION = 1
DECISION_FILE = "decision.json"
RECORD_FILE = "record.json"
CARD_FILE = "MODEL_CARD.md"
HOLDS = "champion holds"
VERSION = re.compile(r"v\d{4,}")
LOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Champion:
    """What serves now.

    Attributes:
        version: its name.
        record_hash: the record that made it the champion.
        folder: where its files stand.
    """

    version: str
    record_hash: str
    folder: Path


@dataclass(frozen=True)
class Registry:
    """A registry.

    Attributes:
        root: its folder.
        baseline: `champion_baseline.json`, which stands in git, outside the registry.
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

    def folder(self, version: str) -> Path:
        """Return where a version's files stand."""
        return self.root / "versions" / version

    def champion(self) -> Champion | None:
        """Return what serves now, from the pointer alone; None before the first promotion.

        Raises:
            VerificationError: the pointer is damaged or names a version that is not there.
        """
        try:
            content = json.loads(self.pointer.read_text(encoding="utf-8"))
            version, record_hash = content["version"], content["record_hash"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise VerificationError(
                f"the champion pointer '{self.pointer}' is damaged ({error}); "
                "`kedro ptq repair` writes it again from the log"
            ) from error
        folder = self.folder(str(version))
        if not VERSION.fullmatch(str(version)) or not folder.is_dir():
            raise VerificationError(
                f"the champion pointer '{self.pointer}' names version {version}, but '{folder}' "
                "does not exist; restore the folder, or `kedro ptq rollback --to VERSION` of one "
                "that `kedro ptq history` lists"
            )
        return Champion(version, record_hash, folder)

    def promotions(self, records: tuple[Record, ...]) -> dict[str, Record]:
        """Return the record of each version's promotion, by version, oldest first."""
        return {str(r.content["version"]): r for r in records if r.kind is Kind.PROMOTION}

    def waivers(self, records: tuple[Record, ...]) -> list[Waiver]:
        """Return every waiver that was ever granted, oldest first."""
        return [Waiver.of(each.content) for each in records if each.kind is Kind.WAIVER]

    def served_before(self, records: tuple[Record, ...]) -> str | None:
        """Return the version that served before the champion; None where there is none."""
        served = [record.champion for record in records if record.champion is not None]
        return next((each for each in reversed(served[:-1]) if each != served[-1]), None)

    def unsolved(self, records: tuple[Record, ...]) -> Record | None:
        """Return the last record of candidates that did not pass, such as *retraining needed*.

        Its field ``serve`` says whether the champion or the float model should serve meanwhile.
        None when what serves changed since, or the champion was shown to hold.
        """
        for record in reversed(records):
            if record.champion is not None or record.content.get("outcome") == HOLDS:
                return None
            if record.kind is Kind.OUTCOME and "serve" in record.content:
                return record
        return None

    def versions(self) -> list[str]:
        """Return the versions that have a folder."""
        folder = self.root / "versions"
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(name for name in names if VERSION.fullmatch(name))

    @property
    def is_here(self) -> bool:
        """Whether anything of the registry is on this machine; a clone of the project has none."""
        return any(
            path.exists() for path in (self.log.folder, self.root / "versions", self.pointer)
        )

    def records(self, needed: bool = True) -> tuple[Record, ...]:
        """Return the log, after checking that everything agrees; to read, not to change.

        Args:
            needed: Whether a missing registry is an error where `champion_baseline.json` knows of
                one. Continuous integration has none, and reads nothing from it.

        Raises:
            VerificationError: naming what differs, and how to recover.
        """
        if not self.is_here:
            if needed:
                agreement.check_head(self, ())
            return ()
        try:
            return self._agreed()
        except VerificationError as error:
            try:
                # Perhaps another process was writing.
                with self._lock():
                    return self._agreed()
            except (OSError, RegistryError):
                raise error from None

    def pending_change(self) -> Change | None:
        """Return the change that was begun and is not finished; None as a rule.

        Raises:
            VerificationError: its file is damaged.
        """
        try:
            return Change(**json.loads(self.pending.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise VerificationError(
                f"'{self.pending}', which names the change that was begun last, is damaged "
                f"({error}): move it away; if something else differs then, it is said"
            ) from error

    def change(
        self,
        records: tuple[Record, ...],
        record: Record,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Write the next record and everything that follows from it.

        Args:
            records: the log before.
            record: its next record.
            files: files of the version that it promotes, by name.
        """
        write_file(self.pending, file_bytes(vars(Change.of(record))))
        if files is not None:
            write_folder(self.folder(str(record.champion)), files)
        self.log.append(record)
        self._complete((*records, record))

    def interrupted(self, records: tuple[Record, ...]) -> Record | None:
        """Return the last record if a process was killed before it had done what it says."""
        change = self.pending_change()
        return records[-1] if change is not None and change.appended(records) else None

    def finish_interrupted(self, records: tuple[Record, ...]) -> None:
        """Finish a change whose record is written; undo one whose record is not.

        Raises:
            VerificationError: what it is about is damaged, or belongs to another log.
        """
        change = self.pending_change()
        if change is None:
            return
        agreement.check_head(self, records, change)
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
            self._undo(change)
        remove(self.pending)

    def _undo(self, change: Change) -> None:
        """Remove the folder that a killed process wrote and had not yet recorded."""
        folder = self.folder(str(change.version))
        try:
            own = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))[HASH]
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

    def _complete(self, records: tuple[Record, ...]) -> None:
        if records[-1].champion is not None:
            self.switch(records[-1])
        self.write_baseline(records)
        remove(self.pending)

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
        write_file(
            self.pointer,
            file_bytes(
                {
                    "schema_version": POINTER_SCHEMA_VERSION,
                    "version": version,
                    "record_hash": record.hash,
                }
            ),
        )

    def known(self) -> Baseline:
        """Return what `champion_baseline.json` says.

        Raises:
            InputError: it is missing, damaged or edited.
        """
        try:
            content = json.loads(self.baseline.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"'{self.baseline}' cannot be read ({error}): {WAY_OUT}") from error
        return Baseline.from_json(content, str(self.baseline))

    def write_baseline(self, records: tuple[Record, ...]) -> None:
        """Write where git keeps it what the champion answers, and the head of the log."""
        content = baseline_bytes(self.baseline_after(records))
        if not self.baseline.is_file() or self.baseline.read_bytes() != content:
            write_file(self.baseline, content)

    def baseline_after(self, records: tuple[Record, ...]) -> Baseline:
        """Return what `champion_baseline.json` says after these records.

        Raises:
            VerificationError: the champion's own baseline is missing or was changed.
        """
        head = records[-1].hash if records else None
        moves = [record for record in records if record.champion is not None]
        if not moves:
            return Baseline().at(len(records), head)
        version = str(moves[-1].champion)
        promotion = self.promotions(records)[version]
        own = self._own_baseline(version, promotion.content["files"])
        return own.served_as(version, promotion.content["decision_hash"]).at(len(records), head)

    def _own_baseline(self, version: str, files: Mapping[str, str]) -> Baseline:
        path = self.folder(version) / BASELINE_FILE
        try:
            content = path.read_bytes()
            if sha256(content).hexdigest() != files.get(BASELINE_FILE):
                raise ValueError("it is not the one that was promoted")
            return Baseline.from_json(json.loads(content), str(path))
        except (OSError, ValueError) as error:
            raise VerificationError(
                f"version {version}: '{path}' is missing or damaged ({error}); restore the "
                "version's folder from a backup, or `kedro ptq rollback --to VERSION` of another "
                "one"
            ) from error

    @contextmanager
    def locked(self, repairing: bool = False) -> Iterator[tuple[Record, ...]]:
        """Hold the registry's lock, finish an interrupted change, and give the checked log.

        Args:
            repairing: Whether the change leaves behind what is damaged: then log and head have to
                agree, and nothing else.

        Raises:
            RegistryError: another process holds the lock for too long, or the disk refuses.
            VerificationError: the log does not hold, or something does not agree with it.
        """
        with self.exclusive() as records:
            try:
                self.finish_interrupted(records)
                agreement.check(self, records)
            except VerificationError:
                if not repairing:
                    raise
                agreement.check_head(self, records, self.pending_change())
            yield records

    @contextmanager
    def exclusive(self) -> Iterator[tuple[Record, ...]]:
        """Hold the registry's lock and give the log, of which only the chain was checked."""
        if not self.is_here:
            agreement.check_head(self, ())
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with self._lock():
                self._clean()
                yield self.log.read()
        except OSError as error:
            raise RegistryError(
                f"the registry '{self.root}' could not be written ({error}); the champion keeps "
                "serving: free space or fix the permission, and run the command again"
            ) from error

    @contextmanager
    def _lock(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.root / "lock", timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise RegistryError(
                f"another process has been changing the registry '{self.root}' for "
                f"{LOCK_SECONDS:.0f} s; try again when it is done"
            ) from None

    def _clean(self) -> None:
        """Remove what killed processes left of their writing."""
        for folder in (self.root, self.log.folder, self.root / "versions", self.baseline.parent):
            clean(folder)

    def _agreed(self) -> tuple[Record, ...]:
        records = self.log.read()
        agreement.check(self, records)
        return records

    def pointed(self) -> tuple[str, str] | None:
        """Return version and record that the pointer names; None where it cannot be read."""
        try:
            content = json.loads(self.pointer.read_text(encoding="utf-8"))
            return content["version"], content["record_hash"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
