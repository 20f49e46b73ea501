"""From anything that an audit or a release left behind to the calibration set it rests on."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ptq_pipeline.calibration.sets import CalibrationManifest
from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.project import Project

HASH = re.compile(r"[0-9a-f]{6,64}")
VERSION = re.compile(r"v\d{4,}")
# Prefixes of what the audit writes, and of what a requantization writes beside it.
AUDITS = ("", "requantization.")
KINDS = (
    "a set id, a trial id, the hash of a verdict, a decision or a record (six digits or more), a "
    "version such as v0001, or the path of one of their files or folders"
)


@dataclass(frozen=True)
class Found:
    """A calibration set and how it was reached.

    Attributes:
        manifest: what the set is.
        steps: one line per hop, from what was asked for to the set.
        pixels: the packed array, None where only the manifest is at hand.
    """

    manifest: CalibrationManifest
    steps: tuple[str, ...]
    pixels: Path | None


def find_set(project: Project, reference: str) -> Found:
    """Follow ``reference`` to its calibration set.

    Args:
        project: the mount to look in.
        reference: see :data:`KINDS`.

    Raises:
        InputError: nothing goes by that name, it is ambiguous, or the set is not at hand.
    """
    path = Path(reference)
    if path.exists():
        set_id, steps, manifest = _from_path(path)
        return _manifest(project, set_id, steps, manifest)
    if VERSION.fullmatch(reference):
        return _from_version(project, reference, ())
    if not HASH.fullmatch(reference):
        raise InputError(f"'{reference}' is none of these: {KINDS}")
    found = {each[0]: each for each in _named(project, reference)}
    if not found:
        raise InputError(
            f"nothing in this project goes by '{reference}'; give {KINDS}. Sets of earlier audits "
            "come back with `git checkout REV` and `dvc checkout`"
        )
    if len(found) > 1:
        raise InputError(f"'{reference}' fits {len(found)} calibration sets; give more digits")
    set_id, steps, manifest = next(iter(found.values()))
    return _manifest(project, set_id, steps, manifest)


Candidate = tuple[str, tuple[str, ...], CalibrationManifest | None]


def _named(project: Project, prefix: str) -> Iterator[Candidate]:
    for folder in _set_folders(project):
        for path in sorted(folder.glob(f"{prefix}*.json")):
            yield path.stem, (f"calibration set {path.stem}",), None
    for audit in AUDITS:
        trials = _table(project, f"{audit}trials")
        if trials is not None:
            for _, row in trials[trials["trial_id"].str.startswith(prefix)].iterrows():
                yield row["set_id"], (f"trial {row['trial_id']}",), None
    yield from _current(project, prefix)
    yield from _released(project, prefix)


def _current(project: Project, prefix: str) -> Iterator[Candidate]:
    """Verdict and decision of the last audit, and of the last requantization."""
    for audit, name in itertools.product(AUDITS, ("verdict", "decision")):
        try:
            content = project.load(audit + name)
        except InputError:
            continue
        own = content["decision_hash"] if name == "decision" else canonical_hash(content)
        set_id = content["candidate"]["set_id"]
        if own.startswith(prefix) and set_id:
            steps = (f"{name} {own[:16]}", f"trial {content['candidate']['trial_id']}")
            yield set_id, steps, None


def _released(project: Project, prefix: str) -> Iterator[Candidate]:
    """Records of the registry, by their own hash or by one that they hold."""
    registry = project.load("registry")
    for record in registry.records(needed=False):
        hashes = [record.hash, *_texts(record.content)]
        if record.champion and any(text.startswith(prefix) for text in hashes):
            found = _from_version(project, record.champion, (f"record {record.sequence}",))
            yield found.manifest.set_id, found.steps, found.manifest


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        for key in ("decision_hash", "verdict_hash", "hashes", "files", "artifact"):
            if key in content:
                value = content[key]
                yield from value.values() if isinstance(value, Mapping) else [value]


def _from_version(project: Project, version: str, steps: tuple[str, ...]) -> Found:
    folder = project.load("registry").folder(version)
    if not folder.is_dir():
        raise InputError(f"the registry has no version {version}; see `kedro ptq history`")
    set_id, further, manifest = _from_path(folder)
    return _manifest(project, set_id, (*steps, f"version {version}", *further), manifest)


def _from_path(path: Path) -> Candidate:
    """Read the set's id from a file or a folder that an audit wrote."""
    if path.is_dir():
        for name in ("calibration.json", "trial.json", "decision.json", "verdict.json"):
            if (path / name).is_file():
                return _from_path(path / name)
        raise InputError(f"folder '{path}' holds no calibration.json, trial.json or decision.json")
    if path.suffix == ".npy":
        path = path.with_suffix(".json")
    beside = path.with_name("calibration.json")
    if path.suffix != ".json" and beside.is_file():
        return _from_path(beside)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' leads to no calibration set ({error})") from error
    for keys in (
        ("set_id",),
        ("candidate", "set_id"),
        ("spec", "calibration_set"),
        ("content", "hashes", "calibration_set"),
    ):
        set_id = _dig(content, keys)
        if isinstance(set_id, str):
            own = content if keys == ("set_id",) and "array_sha256" in content else None
            manifest = own and {key: value for key, value in own.items() if key != "set_id"}
            read = CalibrationManifest.read(manifest) if manifest else None
            return set_id, (f"file {path.name}",), read
    if isinstance(content, dict) and "array_sha256" in content:
        manifest = CalibrationManifest.read(content)
        return manifest.set_id, (f"file {path.name}",), manifest
    raise InputError(f"'{path}' names no calibration set")


def _dig(content: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _manifest(
    project: Project, set_id: str, steps: tuple[str, ...], known: CalibrationManifest | None
) -> Found:
    last = f"calibration set {set_id}"
    steps = steps if steps and steps[-1] == last else (*steps, last)
    for folder in _set_folders(project):
        path = folder / f"{set_id}.json"
        if path.is_file():
            manifest = CalibrationManifest.read(json.loads(path.read_text(encoding="utf-8")))
            pixels = path.with_suffix(".npy")
            known = known or manifest
            if manifest.set_id != set_id:
                raise InputError(f"'{path}' was changed: its hash is {manifest.set_id}")
            return Found(manifest, steps, pixels if pixels.is_file() else None)
    if known is None:
        raise InputError(
            f"{' -> '.join(steps)}: its files are not here; bring them back with `git checkout "
            "REV` and `dvc checkout`, or `dvc pull`"
        )
    if known.set_id != set_id:
        raise InputError(f"the manifest of {set_id} was changed: its hash is {known.set_id}")
    return Found(known, steps, None)


def _set_folders(project: Project) -> list[Path]:
    """Sets of the audit, and those of requantizations beside them."""
    folder = project.root / project.path("calibration_sets")
    found = [folder] if folder.is_dir() else []
    events = folder.parent / "requantization"
    holders = {path.parent for path in events.rglob("*.npy")} if events.is_dir() else set()
    return [*found, *sorted(holders)]


def _table(project: Project, name: str) -> pd.DataFrame | None:
    try:
        return project.load(name)
    except InputError:
        return None
