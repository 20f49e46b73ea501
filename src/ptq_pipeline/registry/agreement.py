"""The registry as a whole: log, pointer, version folders and the log's head in git tell one story.

A log that was shortened, or lost, holds: only its head, which `champion_baseline.json` keeps in
git, shows that records are missing. So nothing moves before all of them agree. The exception is a
change that was interrupted: `pending.json` names its record, and the next change finishes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ptq_pipeline.core.chains import head_of
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.baseline import Baseline
from ptq_pipeline.registry.records import Change, Records, RegistryError, VerificationError
from ptq_pipeline.registry.store import RECORD_FILE, Pointer, Store

REPAIR = "`kedro ptq recover` writes it again from the log"


class Registry(Store):
    """A registry that is read and changed only while everything in it agrees."""

    def records(self, needed: bool = True) -> Records:
        """Return the log, after checking that everything agrees; to read, not to change.

        Continuous integration has no registry and needs none; elsewhere a missing one is an error
        where `champion_baseline.json` knows of one.

        Raises:
            VerificationError: naming what differs, and how to recover.
        """
        if not self.is_here:
            if needed:
                self._check_head(Records())
            return Records()
        try:
            return self._agreed()
        except VerificationError as error:
            try:
                # Perhaps another process was writing.
                with self.lock():
                    return self._agreed()
            except (OSError, RegistryError):
                raise error from None

    def _agreed(self) -> Records:
        records = self.log.read()
        self.check(records)
        return records

    @contextmanager
    def locked(self, repairing: bool = False) -> Iterator[Records]:
        """Hold the registry's lock, finish an interrupted change, and give the checked log.

        For a change that leaves behind what is damaged, log and head have to agree, and no more.

        Raises:
            RegistryError: another process holds the lock for too long, or the disk refuses.
            VerificationError: the log does not hold, or something does not agree with it.
        """
        with self._exclusive() as records:
            try:
                self._finish_interrupted(records)
                self.check(records)
            except VerificationError:
                if not repairing:
                    raise
                self._check_head(records, self.pending_change())
            yield records

    @contextmanager
    def _exclusive(self) -> Iterator[Records]:
        """Hold the registry's lock and give the log, of which only the chain was checked."""
        if not self.is_here:
            self._check_head(Records())
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with self.lock():
                self.clean()
                yield self.log.read()
        except OSError as error:
            raise RegistryError(
                f"the registry '{self.root}' could not be written ({error}); the champion keeps "
                "serving: free space or fix the permission, and run the command again"
            ) from error

    def _finish_interrupted(self, records: Records) -> None:
        change = self.pending_change()
        if change is not None:
            self._check_head(records, change)
            self.finish(change, records)

    def repair(self) -> list[str]:
        """Write again, from a log that holds, what does not agree with it.

        Nothing is repaired where records are missing, or where a version's files do not hold.

        Returns:
            What was done, a sentence each.

        Raises:
            VerificationError: naming what has to be restored first.
        """
        done = []
        with self._exclusive() as records:
            self._check_folders(records, self.pending_change())
            if moves := records.moves:
                self.check_version(records, str(moves[-1].champion))
            if self._baseline_must_be_written(records):
                self.write_baseline(records)
                done.append(f"'{self.baseline}' is written from the log; commit it")
            if self.pending_change() is not None:
                self._finish_interrupted(records)
                done.append("a change that was interrupted is finished or undone")
            if moves and self.pointed() != _pointer(records):
                self.switch(moves[-1])
                done.append(f"the champion pointer names {moves[-1].champion} again")
            self.check(records)
        return done

    def verify(self, version: str | None = None) -> list[str]:
        """Check that everything agrees with the log, and the files of one version, or of all.

        Returns:
            The versions whose files were checked, oldest first.

        Raises:
            VerificationError: naming the first file that does not hold.
            RegistryError: there is no such version.
        """
        records = self.records()
        checked = list(records.promotions) if version is None else [version]
        for each in checked:
            self.check_version(records, each)
        return checked

    def check_version(self, records: Records, version: str) -> None:
        """Check every file of one version against its record.

        Raises:
            VerificationError: naming the first file that is missing, added or changed.
            RegistryError: there is no such version.
        """
        # What is promoted is read through the types of a verdict, and those need pandas.
        from ptq_pipeline.registry.evidence import check_version

        check_version(self.folder(version), records.promotion(version))

    def check(self, records: Records) -> None:
        """Check that everything agrees with a log whose chain was checked.

        Raises:
            VerificationError: naming what differs, and how to recover.
        """
        change = self.pending_change()
        self._check_head(records, change)
        self._check_folders(records, change)
        stories = _stories(records, change)
        self._check_pointer(stories)
        known = self._known()
        if known is not None and not self._follows(known, stories):
            raise VerificationError(
                f"'{self.baseline}' is not what the champion's own baseline and the log say: it "
                f"was edited; restore it from git, or {REPAIR}"
            )

    def _follows(self, known: Baseline, stories: list[Records]) -> bool:
        said = known.to_json()
        return any(self.baseline_after(each).to_json() == said for each in stories)

    def _check_head(self, records: Records, change: Change | None = None) -> None:
        """Check that the log holds the records that `champion_baseline.json` knows, and no more."""
        if self._is_longer(records, change):
            raise VerificationError(
                f"'{self.baseline}' is older than the log of the registry '{self.root}', which "
                f"holds {len(records)} records: {REPAIR}; commit it then"
            )

    def _is_longer(self, records: Records, change: Change | None) -> bool:
        """Return whether the log goes on where `champion_baseline.json` ends.

        Raises:
            VerificationError: that file is missing, damaged, or names records that the log lacks.
        """
        known, where = self._known(), f"'{self.baseline}'"
        if any(_knows(known, story) for story in _stories(records, change)):
            return False
        if known is None:
            raise VerificationError(
                f"{where} is missing, and the log of '{self.root}' holds {len(records)} records: "
                f"restore it from git; where git has none, {REPAIR}"
            )
        if known.log.records > len(records) or not records:
            raise VerificationError(self._shortened(records, known.log.records))
        if not known.sealed:
            raise VerificationError(
                f"{where} was written by an earlier release and does not hold the head of the log: "
                f"{REPAIR}; commit it then"
            )
        if head_of(records[: known.log.records])[1] != known.log.head:
            raise VerificationError(
                f"record {known.log.records} of the log '{self.log.folder}' is not the one that "
                f"{where} names ({str(known.log.head)[:16]}): one of the two was replaced; restore "
                f"the log from a backup, or {where} from git"
            )
        return True

    def _shortened(self, records: Records, count: int) -> str:
        held = f"holds {len(records)}" if records else "is empty or missing"
        return (
            f"'{self.baseline}' knows of {count or 'a champion and its'} records, and the log "
            f"'{self.log.folder}' {held}: records are missing; restore the log from a backup "
            "(a promotion's record is also in its version's folder, as record.json, under the "
            f"number that its `sequence` says), or bring back the '{self.baseline.name}' of that "
            "log from git"
        )

    def _baseline_must_be_written(self, records: Records) -> bool:
        """Return whether `champion_baseline.json` may and has to be written from the log.

        Raises:
            VerificationError: it names records that the log lacks.
        """
        try:
            known = self._known()
        except VerificationError:
            return True
        change = self.pending_change()
        if known is None or not known.sealed:
            return bool(records)
        return self._is_longer(records, change) or not self._follows(
            known, _stories(records, change)
        )

    def _check_folders(self, records: Records, change: Change | None) -> None:
        """Check that the log knows every version that has a folder."""
        known = set(records.promotions)
        if change is not None and change.waits(records):
            known.add(str(change.version))
        for version in self.versions():
            if version not in known:
                folder = self.folder(version)
                raise VerificationError(
                    f"'{folder}' has no record in the log '{self.log.folder}', which ends with "
                    f"record {len(records)}: the log was shortened; restore it from a backup, or "
                    f"copy '{folder / RECORD_FILE}' to the place that its `sequence` says"
                )

    def _check_pointer(self, stories: list[Records]) -> None:
        """Check that the pointer names what the log, or one of its stories, made the champion."""
        expected, pointed = [_pointer(records) for records in stories], self.pointed()
        if pointed in expected:
            return
        first = expected[0]
        should = first.version if first else "no version"
        if not self.pointer.exists():
            what = "is missing"
        elif pointed is None:
            what = "is damaged"
        else:
            what = f"names {pointed.version}"
            if pointed.version == should:
                what += " by a record that is not in the log"
        way_out = f"; {REPAIR}" if first else ": restore the log from a backup"
        raise VerificationError(
            f"the champion pointer '{self.pointer}' {what}, and the log made {should} the "
            f"champion{way_out}"
        )

    def _known(self) -> Baseline | None:
        if not self.baseline.is_file():
            return None
        try:
            return self.known()
        except InputError as error:
            raise VerificationError(str(error)) from error


def _stories(records: Records, change: Change | None) -> list[Records]:
    """The log, and what it was before a change whose record is written and may not be followed."""
    if change is not None and change.appended(records):
        return [records, Records(records[:-1])]
    return [records]


def _knows(known: Baseline | None, records: Records) -> bool:
    if not records:
        return known is None or (known.log.records == 0 and not known.serves)
    return (
        known is not None
        and known.sealed
        and (known.log.records, known.log.head) == head_of(records)
    )


def _pointer(records: Records) -> Pointer | None:
    """What the champion pointer says after these records."""
    if not records.moves:
        return None
    last = records.moves[-1]
    return Pointer(version=str(last.champion), record_hash=last.hash)
