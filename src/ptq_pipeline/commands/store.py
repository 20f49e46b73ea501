"""``kedro ptq store``: what the trial store holds, and what of it nothing refers to."""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pandas as pd

from ptq_pipeline.commands.command import Answer
from ptq_pipeline.commands.project_command import project_command
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import TRIAL_FILE
from ptq_pipeline.core.objects import StoredObject
from ptq_pipeline.project import Project
from ptq_pipeline.trials.trial import TrialStore, trial_id_of, trial_of

UNUSED_DAYS = 30
# What stages write about trials: tables of them, and documents that name one.
TABLES, DOCUMENTS = "trials.parquet", ("verdict.json", "decision.json")
# Folders of a project that hold neither, and may hold millions of files.
_PASSED_OVER = {"01_raw", "03_primary", "05_model_input", "node_modules"}
# What only a set's trial has, and the float model's has not.
_OF_A_SET = {"statistics", "repeat", "sampled"}


@project_command(epilog="Example: kedro ptq store --clean --unused-for 90")
@click.option("--clean", is_flag=True, help="Remove it.")
@click.option(
    "--unused-for",
    "days",
    default=UNUSED_DAYS,
    show_default=True,
    type=click.IntRange(0),
    help="Count nothing as unused that was written in the last so many days.",
)
def store(project: Project, clean: bool, days: int) -> Answer:
    """Measure the trial store, and what of it nothing here refers to.

    A trial is referred to by the tables, verdicts and decisions of all environments of this
    project, by versions and records of the registry, and by other trials of the same audit. What
    other projects and hosts refer to in a shared store is not known here, only its age. Removing a
    trial changes no result: it is computed again when it is needed.
    """
    kept = used_trials(project)
    found = project.load("trial_store")
    parts = _parts(found, kept, time.time() - days * 86_400)
    lines = [
        f"{name:12s} {part['files']:>9,} files  {_size(part['bytes']):>9}   "
        f"not referred to: {part['unused_files']:,}, {_size(part['unused_bytes'])}"
        for name, part in parts.items()
    ]
    unused = [each.name for part in parts.values() for each in part.pop("unused")]
    if clean:
        for name in unused:
            found.remove(name)
        lines.append(f"removed: {len(unused):,} files")
    elif unused:
        lines.append(f"{len(unused):,} are older than {days} days; --clean removes them")
    place = found.root if found.objects is None else found.objects.url
    content = {"place": str(place), "days": days, "removed": clean and len(unused), **parts}
    return Answer(content, [str(place), *lines])


def used_trials(project: Project) -> frozenset[str]:
    """Return the ids of the trials that something in a project refers to.

    Raises:
        InputError: a file that may refer to some cannot be read.
    """
    found: set[str] = set()
    for path in _references(project.root):
        try:
            if path.name.endswith(TABLES):
                table = pd.read_parquet(path)
                # Those of `benchmark` name no trials.
                found |= set(table.get("trial_id", ()))
                for spec in table.get("spec", ()):
                    found |= _with_its_float(json.loads(spec))
            else:
                found |= set(_named(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"'{path}' may refer to trials and cannot be read ({error}); restore it or remove "
                "it, so that nothing is taken for unused that is not"
            ) from error
    registry = project.load("registry")
    for record in registry.records(needed=False):
        found |= set(_named(record.to_json()))
        path = registry.folder(record.champion) / TRIAL_FILE if record.champion else None
        if path is not None and path.is_file():
            found |= _with_its_float(json.loads(path.read_text(encoding="utf-8")).get("spec", {}))
    return frozenset(found)


def _references(root: Path) -> Iterator[Path]:
    """Yield every table of trials, verdict and decision below a project."""
    for inside, folders, names in os.walk(root):
        folders[:] = [
            each for each in folders if not each.startswith(".") and each not in _PASSED_OVER
        ]
        for name in names:
            if name.endswith(TABLES) or name in DOCUMENTS:
                yield Path(inside, name)


def _with_its_float(spec: Mapping[str, Any]) -> set[str]:
    """Return the id of a trial, and of the float model's on the same images."""
    if not spec:
        return set()
    own = {name: value for name, value in spec.items() if name not in _OF_A_SET}
    of_float = own | {"method": None, "calibration_set": None}
    return {trial_id_of(each) for each in (spec, of_float)}


def _named(content: Any) -> Iterator[str]:
    """Yield every trial that a document names."""
    if isinstance(content, Mapping):
        if isinstance(content.get("trial_id"), str):
            yield content["trial_id"]
        content = content.values()
    if isinstance(content, Iterable) and not isinstance(content, str):
        for each in content:
            yield from _named(each)


def _parts(found: TrialStore, kept: frozenset[str], before: float) -> dict[str, Any]:
    """Measure a store by what its files are; only results and what was sent may be unused."""
    parts: dict[str, Any] = {}
    for each in found.names():
        trial = trial_of(each.name)
        name = "trials" if trial else each.name.partition("/")[0] if "/" in each.name else "other"
        unused = trial not in kept if trial else name == "files"
        empty: dict[str, Any] = {"files": 0, "bytes": 0, "unused_files": 0, "unused_bytes": 0}
        part = parts.setdefault(name, empty | {"unused": list[StoredObject]()})
        part["files"] += 1
        part["bytes"] += each.size
        if unused and each.written < before:
            part["unused_files"] += 1
            part["unused_bytes"] += each.size
            part["unused"].append(each)
    return dict(sorted(parts.items()))


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
