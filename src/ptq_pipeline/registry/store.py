"""The registry on disk: versions, the log, the champion pointer, and repair after a crash.

What serves reads the pointer and the version's folder, nothing else. A change writes, in this
order: the version's folder, the record, the pointer, the baseline. A process killed in between
leaves the old champion serving and complete; the next change first finishes what the log says.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptq_pipeline.files import write_file
from ptq_pipeline.registry.baseline import BASELINE_FILE, baseline_bytes
from ptq_pipeline.registry.errors import RegistryError, VerificationError
from ptq_pipeline.registry.records import Kind, Log, Record
from ptq_pipeline.registry.waivers import Waiver
from ptq_pipeline.reliability.baseline import Baseline

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
                "`kedro ptq rollback --to VERSION` writes it anew"
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
        return [Waiver(**record.content) for record in records if record.kind is Kind.WAIVER]

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

    def interrupted(self, records: tuple[Record, ...]) -> Record | None:
        """Return the record of the last change if the pointer does not say what it says.

        The process was killed before it moved the pointer, or the pointer was edited.
        """
        moves = [record for record in records if record.champion is not None]
        if not moves:
            return None
        last = moves[-1]
        return None if self._pointed() == (last.champion, last.hash) else last

    def finish_interrupted(self, records: tuple[Record, ...]) -> None:
        """Move pointer and baseline to where the log says they should be.

        Raises:
            VerificationError: the version that the log names is not there.
        """
        record = self.interrupted(records)
        if record is not None:
            self.switch(record)
        moves = [each for each in records if each.champion is not None]
        if moves:
            self.write_baseline(moves[-1].champion or "", records)

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
            _json_bytes(
                {
                    "schema_version": POINTER_SCHEMA_VERSION,
                    "version": version,
                    "record_hash": record.hash,
                }
            ),
        )

    def write_baseline(self, version: str, records: tuple[Record, ...]) -> None:
        """Write what the champion answers to where git keeps it, if it is not there already."""
        content = self.baseline_of(version, records)
        if not self.baseline.is_file() or self.baseline.read_bytes() != content:
            write_file(self.baseline, content)

    def baseline_of(self, version: str, records: tuple[Record, ...]) -> bytes:
        """Return the baseline of one version.

        Raises:
            VerificationError: the version holds no readable baseline.
        """
        path = self.folder(version) / BASELINE_FILE
        try:
            known = Baseline.from_json(json.loads(path.read_text(encoding="utf-8")), str(path))
        except (OSError, ValueError) as error:
            raise VerificationError(
                f"version {version}: '{path}' is missing or damaged; restore the version's folder "
                "from a backup, or `kedro ptq rollback --to VERSION` of another one"
            ) from error
        promotion = self.promotions(records)[version]
        decision_hash = promotion.content["decision_hash"]
        return baseline_bytes(known.served_as(version, decision_hash))

    @contextmanager
    def locked(self, finish: bool = True) -> Iterator[tuple[Record, ...]]:
        """Hold the registry's lock, finish an interrupted change, and give the checked log.

        Args:
            finish: Whether to finish it; a rollback does not need what it leaves.

        Raises:
            RegistryError: another process holds the lock for too long, or the disk refuses.
            VerificationError: the log does not hold.
        """
        from filelock import FileLock, Timeout

        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / "lock", timeout=LOCK_SECONDS)
        try:
            with lock:
                records = self.log.read()
                if finish:
                    self.finish_interrupted(records)
                yield records
        except Timeout:
            raise RegistryError(
                f"another process has been changing the registry '{self.root}' for "
                f"{LOCK_SECONDS:.0f} s; try again when it is done"
            ) from None
        except OSError as error:
            raise RegistryError(
                f"the registry '{self.root}' could not be written ({error}); the champion keeps "
                "serving: free space or mend the permission, and run the command again"
            ) from error

    def _pointed(self) -> tuple[str, str] | None:
        try:
            content = json.loads(self.pointer.read_text(encoding="utf-8"))
            return content["version"], content["record_hash"]
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _json_bytes(content: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(content, indent=2, sort_keys=True)}\n".encode()
