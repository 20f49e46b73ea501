"""Whether log, pointer, version folders and the log's head in git tell one story.

A log that was shortened, or lost, holds: only its head, which `champion_baseline.json` keeps in
git, shows that records are missing. So nothing moves before all of them agree. The exception is a
change that was interrupted: `pending.json` names its record, and the next change finishes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.baseline import Baseline
from ptq_pipeline.registry.errors import VerificationError
from ptq_pipeline.registry.records import Change, Record

if TYPE_CHECKING:
    from ptq_pipeline.registry.store import Registry

REPAIR = "`kedro ptq repair` writes it again from the log"


def check(registry: Registry, records: tuple[Record, ...]) -> None:
    """Check that everything agrees with everything else.

    Args:
        registry: the registry.
        records: its log, whose chain was checked.

    Raises:
        VerificationError: naming what differs, and how to recover.
    """
    change = registry.pending_change()
    check_head(registry, records, change)
    check_folders(registry, records, change)
    stories = _stories(records, change)
    check_pointer(registry, stories)
    known = _known(registry)
    if known is None:
        return
    if all(registry.baseline_after(story).to_json() != known.to_json() for story in stories):
        raise VerificationError(
            f"'{registry.baseline}' is not what the champion's own baseline and the log say: it "
            f"was edited; restore it from git, or {REPAIR}"
        )


def check_head(
    registry: Registry, records: tuple[Record, ...], change: Change | None = None
) -> None:
    """Check that the log holds the records that `champion_baseline.json` knows of, and no more."""
    if is_longer(registry, records, change):
        raise VerificationError(
            f"'{registry.baseline}' is older than the log of the registry '{registry.root}', which "
            f"holds {len(records)} records: {REPAIR}; commit it then"
        )


def is_longer(
    registry: Registry, records: tuple[Record, ...], change: Change | None = None
) -> bool:
    """Return whether the log goes on where `champion_baseline.json` ends.

    Raises:
        VerificationError: that file is missing, damaged, or names records that the log lacks.
    """
    known, where = _known(registry), f"'{registry.baseline}'"
    if any(_knows(known, story) for story in _stories(records, change)):
        return False
    if known is None:
        raise VerificationError(
            f"{where} is missing, and the log of '{registry.root}' holds {len(records)} records: "
            f"restore it from git; where git has none, {REPAIR}"
        )
    if known.log.records > len(records) or not records:
        raise VerificationError(_shortened(registry, records, known.log.records))
    if not known.sealed:
        raise VerificationError(
            f"{where} was written by an earlier release and does not hold the head of the log: "
            f"{REPAIR}; commit it then"
        )
    if known.log.head != _head(records[: known.log.records]):
        raise VerificationError(
            f"record {known.log.records} of the log '{registry.log.folder}' is not the one that "
            f"{where} names ({str(known.log.head)[:16]}): one of the two was replaced; restore the "
            f"log from a backup, or {where} from git"
        )
    return True


def must_be_written(registry: Registry, records: tuple[Record, ...]) -> bool:
    """Return whether `champion_baseline.json` may and has to be written from the log.

    Raises:
        VerificationError: it names records that the log lacks.
    """
    try:
        known = _known(registry)
    except VerificationError:
        return True
    change = registry.pending_change()
    if known is None or not known.sealed:
        return bool(records)
    if is_longer(registry, records, change):
        return True
    stories = _stories(records, change)
    return all(registry.baseline_after(each).to_json() != known.to_json() for each in stories)


def check_folders(
    registry: Registry, records: tuple[Record, ...], change: Change | None = None
) -> None:
    """Check that the log knows every version that has a folder."""
    known = set(registry.promotions(records))
    if change is not None and change.waits(records):
        known.add(str(change.version))
    for version in registry.versions():
        if version not in known:
            folder = registry.folder(version)
            raise VerificationError(
                f"'{folder}' has no record in the log '{registry.log.folder}', which ends with "
                f"record {len(records)}: the log was shortened; restore it from a backup, or copy "
                f"'{folder / 'record.json'}' to the place that its `sequence` says"
            )


def check_pointer(registry: Registry, stories: list[tuple[Record, ...]]) -> None:
    """Check that the pointer names what the log, or one of its stories, made the champion."""
    expected = [_pointed(records) for records in stories]
    if registry.pointed() in expected:
        return
    should = expected[0][0] if expected[0] else "no version"
    if not registry.pointer.exists():
        what = "is missing"
    else:
        pointed = registry.pointed()
        what = f"names {pointed[0]}" if pointed else "is damaged"
        if pointed and pointed[0] == should:
            what += " by a record that is not in the log"
    way_out = f"; {REPAIR}" if expected[0] else ": restore the log from a backup"
    raise VerificationError(
        f"the champion pointer '{registry.pointer}' {what}, and the log made {should} the "
        f"champion{way_out}"
    )


def _stories(records: tuple[Record, ...], change: Change | None) -> list[tuple[Record, ...]]:
    """The log, and what it was before a change whose record is written and may not be followed."""
    return [records, records[:-1]] if change and change.appended(records) else [records]


def _known(registry: Registry) -> Baseline | None:
    if not registry.baseline.is_file():
        return None
    try:
        return registry.known()
    except InputError as error:
        raise VerificationError(str(error)) from error


def _knows(known: Baseline | None, records: tuple[Record, ...]) -> bool:
    if not records:
        return known is None or (known.log.records == 0 and not known.serves)
    return (
        known is not None
        and known.sealed
        and (known.log.records, known.log.head) == (len(records), _head(records))
    )


def _head(records: tuple[Record, ...]) -> str | None:
    return records[-1].hash if records else None


def _pointed(records: tuple[Record, ...]) -> tuple[str, str] | None:
    moves = [record for record in records if record.champion is not None]
    return (str(moves[-1].champion), moves[-1].hash) if moves else None


def _shortened(registry: Registry, records: tuple[Record, ...], count: int) -> str:
    held = f"holds {len(records)}" if records else "is empty or missing"
    return (
        f"'{registry.baseline}' knows of {count or 'a champion and its'} records, and the log "
        f"'{registry.log.folder}' {held}: records are missing; restore the log from a backup "
        "(a promotion's record also stands in its version's folder, as record.json, under the "
        f"number that its `sequence` says), or bring back the '{registry.baseline.name}' of that "
        "log from git"
    )
