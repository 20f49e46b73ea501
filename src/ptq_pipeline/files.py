"""Writing so that a process killed at any time leaves the old content or the new."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` to write to; it takes the place of ``path`` at the end.

    When the block raises, ``path`` keeps its old content and the temporary file is removed. The
    folder is made when it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield scratch
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary sibling of ``folder`` to fill; at the end it takes its place.

    When the block raises, ``folder`` keeps its old content. A process killed between the two
    renames at the end leaves the old content beside it, under a hidden name; what was mapped from
    the old folder stays readable.
    """
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    retired = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        for leftover in (scratch, retired):
            shutil.rmtree(leftover, ignore_errors=True)
        scratch.mkdir(parents=True)
        yield scratch
        if folder.exists():
            folder.rename(retired)
        scratch.rename(folder)
    finally:
        if retired.exists() and not folder.exists():
            retired.rename(folder)
        for leftover in (scratch, retired):
            shutil.rmtree(leftover, ignore_errors=True)
