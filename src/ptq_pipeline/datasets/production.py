"""Production windows as they arrive, each decided about once."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from ptq_pipeline.core.canonical import file_bytes
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import write_file
from ptq_pipeline.core.inputs import local_path, open_regular
from ptq_pipeline.datasets.image_sources import ImageWindowsDataset
from ptq_pipeline.monitoring.windows import Arrival

CHECKPOINT_SCHEMA_VERSION = 1
# How often a process may end while it reads a window before the window is set aside.
MOST_DEATHS = 3


class ProductionArrivalsDataset(ImageWindowsDataset):
    """The windows below ``filepath`` that no decision was confirmed for.

    Kedro confirms it after the decisions are on disk; a run that is killed before looks at the same
    windows again. A window whose files have changed since counts as a new arrival. The file
    ``checkpoint`` remembers what was confirmed; other settings as in `ImageWindowsDataset`.
    """

    _shown = ("_filepath", "_checkpoint")

    def __init__(self, filepath: str, checkpoint: str, **decoding: Any) -> None:
        super().__init__(filepath, **decoding)
        self._checkpoint = local_path(checkpoint, "checkpoint")
        self._loaded: dict[str, str] = {}

    def load(self) -> list[Arrival]:  # type: ignore[override]
        """Return new and changed windows, in the order of their names; none is decoded yet."""
        confirmed = self._confirmed()
        arrivals = []
        for folder in self._folders():
            digest, empty = _look_into(folder)
            if confirmed.get(folder.name) != digest:
                read, guard = partial(self._window, folder), partial(self._guard, digest)
                arrivals.append(Arrival(folder.name, digest, read, empty, guard))
        self._loaded = {each.name: each.digest for each in arrivals}
        return arrivals

    @contextmanager
    def _guard(self, digest: str) -> Iterator[None]:
        """Count the processes that ended while they read these files.

        A window that takes all memory, or makes a decoder crash, ends the process before anything
        can be decided about it, and would end every later one.
        """
        marker = self._checkpoint.with_name(f"{self._checkpoint.stem}_reading.json")
        try:
            before = json.loads(marker.read_text(encoding="utf-8"))
            deaths = int(before["deaths"]) + 1 if before["digest"] == digest else 0
        except (OSError, ValueError, KeyError, TypeError):
            deaths = 0
        if deaths >= MOST_DEATHS:
            raise InputError(
                f"{deaths} processes ended while they read it, by lack of memory or a crash; "
                "deliver its images in smaller windows, or without the broken file"
            )
        write_file(marker, json.dumps({"digest": digest, "deaths": deaths}).encode())
        try:
            yield
        finally:
            marker.unlink(missing_ok=True)

    def confirm(self) -> None:
        """Remember that what was loaded last has been decided about."""
        content = {
            "schema_version": CHECKPOINT_SCHEMA_VERSION,
            "windows": {**self._confirmed(), **self._loaded},
        }
        write_file(self._checkpoint, file_bytes(content))

    def _confirmed(self) -> dict[str, str]:
        if not self._checkpoint.is_file():
            return {}
        try:
            content = json.loads(self._checkpoint.read_text(encoding="utf-8"))
            return {str(name): str(digest) for name, digest in content["windows"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"the checkpoint '{self._checkpoint}' is damaged ({error}); delete it and every "
                "window is looked at again, which changes no decision"
            ) from error


def _look_into(folder: Path) -> tuple[str, bool]:
    """Return a hash of all that is in a folder, and whether that is nothing.

    Only regular files are read; whatever else there is, or cannot be read, counts by its name and
    the reason.
    """
    paths = sorted(
        Path(inside, name)
        for inside, folders, files in os.walk(folder)
        for name in [*files, *(each for each in folders if Path(inside, each).is_symlink())]
    )
    digest = sha256()
    for path in paths:
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode(errors="surrogateescape"))
        try:
            with open_regular(path) as handle:
                digest.update(file_digest(handle, sha256).digest())
        except InputError:
            digest.update(b"no regular file\0")
        except OSError as error:
            digest.update(f"{error.strerror}\0".encode())
    return digest.hexdigest(), folder.is_dir() and not paths
