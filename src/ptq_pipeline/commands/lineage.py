"""From anything that an audit or a release left behind to the calibration set it rests on."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptq_pipeline.calibration.sets import CalibrationManifest
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import DECISION_FILE, TRIAL_FILE, VERDICT_FILE
from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.project import Project
from ptq_pipeline.registry.store import VERSION

HASH = re.compile(r"[0-9a-f]{6,64}")
# Prefixes of what the audit writes, and of what a requantization writes beside it.
AUDITS = ("", "requantization.")
KINDS = (
    "a set id, a trial id, the hash of a verdict, a decision or a record (six digits or more), a "
    "version such as v0001, or the path of one of their files or folders"
)
# Where a document of an audit or a release names its calibration set.
PLACES = (
    ("set_id",),
    ("candidate", "set_id"),
    ("spec", "calibration_set"),
    ("content", "hashes", "calibration_set"),
)


@dataclass(frozen=True)
class SetTrace:
    """A way that leads to a calibration set, and its manifest where a file on the way holds it."""

    set_id: str
    steps: tuple[str, ...] = ()
    manifest: CalibrationManifest | None = None


@dataclass(frozen=True)
class Found:
    """A calibration set, the hops that lead to it, and its array where that is at hand."""

    manifest: CalibrationManifest
    steps: tuple[str, ...]
    pixels: Path | None


def find_set(project: Project, reference: str) -> Found:
    """Follow ``reference``, see :data:`KINDS`, to its calibration set.

    Raises:
        InputError: nothing goes by that name, it is ambiguous, or the set is not at hand.
    """
    path = Path(reference)
    if path.exists():
        return _located(project, _of_path(path))
    if VERSION.fullmatch(reference):
        return _located(project, _of_version(project, reference))
    if not HASH.fullmatch(reference):
        raise InputError(f"'{reference}' is none of these: {KINDS}")
    found = {trace.set_id: trace for trace in _named(project, reference)}
    if not found:
        raise InputError(
            f"nothing in this project goes by '{reference}'; give {KINDS}. Sets of earlier audits "
            "come back with `git checkout REV` and `dvc checkout`"
        )
    if len(found) > 1:
        raise InputError(f"'{reference}' fits {len(found)} calibration sets; give more digits")
    return _located(project, *found.values())


def _named(project: Project, prefix: str) -> Iterator[SetTrace]:
    """Yield what goes by a hash that begins with ``prefix``."""
    for folder in _set_folders(project):
        yield from (SetTrace(path.stem) for path in sorted(folder.glob(f"{prefix}*.json")))
    for audit in AUDITS:
        trials = loaded(project, f"{audit}trials")
        if trials is not None:
            for trial, set_id in zip(trials["trial_id"], trials["set_id"], strict=True):
                if trial.startswith(prefix):
                    yield SetTrace(set_id, (f"trial {trial}",))
    for audit, name in itertools.product(AUDITS, ("verdict", "decision")):
        found: Verdict | Decision | None = loaded(project, audit + name)
        if found is not None and found.hash.startswith(prefix) and found.candidate.set_id:
            steps = (f"{name} {found.hash[:16]}", f"trial {found.candidate.trial_id}")
            yield SetTrace(found.candidate.set_id, steps)
    for record in project.load("registry").records(needed=False):
        hashes = [record.hash, *_hashes(record.content)]
        if record.champion and any(text.startswith(prefix) for text in hashes):
            yield _of_version(project, record.champion, (f"record {record.sequence}",))


def loaded(project: Project, name: str) -> Any:
    """Load a dataset, or None where it is not at hand."""
    try:
        return project.load(name)
    except InputError:
        return None


def _hashes(content: Mapping[str, Any]) -> Iterator[str]:
    for key in ("decision_hash", "verdict_hash", "hashes", "files", "artifact"):
        value = content.get(key, {})
        yield from value.values() if isinstance(value, Mapping) else [value]


def _of_version(project: Project, version: str, steps: tuple[str, ...] = ()) -> SetTrace:
    folder = project.load("registry").folder(version)
    if not folder.is_dir():
        raise InputError(f"the registry has no version {version}; see `kedro ptq history`")
    trace = _of_path(folder)
    return SetTrace(trace.set_id, (*steps, f"version {version}", *trace.steps), trace.manifest)


def _of_path(path: Path) -> SetTrace:
    """Read the set's id from a file or a folder that an audit wrote."""
    if path.is_dir():
        for name in ("calibration.json", TRIAL_FILE, DECISION_FILE, VERDICT_FILE):
            if (path / name).is_file():
                return _of_path(path / name)
        raise InputError(f"folder '{path}' holds no calibration.json, trial.json or decision.json")
    if path.suffix == ".npy":
        path = path.with_suffix(".json")
    beside = path.with_name("calibration.json")
    if path.suffix != ".json" and beside.is_file():
        return _of_path(beside)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' leads to no calibration set ({error})") from error
    steps = (f"file {path.name}",)
    if isinstance(content, dict) and "array_sha256" in content:
        own = {key: value for key, value in content.items() if key != "set_id"}
        manifest = CalibrationManifest.read(own)
        return SetTrace(content.get("set_id", manifest.set_id), steps, manifest)
    for keys in PLACES:
        set_id = content
        for key in keys:
            set_id = set_id.get(key) if isinstance(set_id, dict) else None
        if isinstance(set_id, str):
            return SetTrace(set_id, steps)
    raise InputError(f"'{path}' names no calibration set")


def _located(project: Project, trace: SetTrace) -> Found:
    """Find the files of a set, or make do with a manifest that was on the way."""
    set_id, known = trace.set_id, trace.manifest
    steps = (*trace.steps, f"calibration set {set_id}")
    if known is not None and known.set_id != set_id:
        raise InputError(
            f"{' -> '.join(steps)}: the manifest there was changed: its hash is {known.set_id}"
        )
    for folder in _set_folders(project):
        path = folder / f"{set_id}.json"
        if path.is_file():
            manifest = CalibrationManifest.read(json.loads(path.read_text(encoding="utf-8")))
            if manifest.set_id != set_id:
                raise InputError(f"'{path}' was changed: its hash is {manifest.set_id}")
            pixels = path.with_suffix(".npy")
            return Found(manifest, steps, pixels if pixels.is_file() else None)
    if known is None:
        raise InputError(
            f"{' -> '.join(steps)}: its files are not here; bring them back with `git checkout "
            "REV` and `dvc checkout`, or `dvc pull`"
        )
    return Found(known, steps, None)


def _set_folders(project: Project) -> list[Path]:
    """Sets of the audit, and those of requantizations beside them."""
    folder = project.root / project.path("calibration_sets")
    found = [folder] if folder.is_dir() else []
    events = folder.parent / "requantization"
    holders = {path.parent for path in events.rglob("*.npy")} if events.is_dir() else set()
    return [*found, *sorted(holders)]
