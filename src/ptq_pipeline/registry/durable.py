"""Writes that are on the disk when they return, and that appear all at once or not at all."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ptq_pipeline.errors import InputError


def write_once(path: Path, content: bytes) -> None:
    """Write a new file; it appears complete.

    Raises:
        FileExistsError: the file is already there; it is left as it is.
    """
    scratch = _written(path, content)
    try:
        os.link(scratch, path)
    finally:
        scratch.unlink()
    _sync_folder(path.parent)


def replace(path: Path, content: bytes) -> None:
    """Write or replace a file; readers see the old content or the new."""
    scratch = _written(path, content)
    try:
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a new folder of files; it appears complete.

    What a killed process left under another name is removed first.

    Raises:
        InputError: a name leaves the folder.
        FileExistsError: the folder is already there.
    """
    if folder.exists():
        raise FileExistsError(folder)
    scratch = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    for name, content in files.items():
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts:
            raise InputError(f"file name '{name}' leaves the folder '{folder}'")
        target = scratch / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target, content)
        _sync_folder(target.parent)
    scratch.rename(folder)
    _sync_folder(folder.parent)


def _written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    _write(scratch, content)
    return scratch


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # pragma: no cover - folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
