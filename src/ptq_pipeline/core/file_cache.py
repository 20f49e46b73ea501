"""Copies of files by their content, on a disk of this machine, about so much at most.

All processes of a host share one cache. A file is known by its SHA-256 and compared with it when it
arrives and when it is used. Where room is needed, what was used longest ago goes first; a file that
somebody has open or mapped stays readable for them.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from filelock import FileLock

from ptq_pipeline.core.errors import InputError, NoSpaceError
from ptq_pipeline.core.seals import SealError, digest

FOLDER_VARIABLE, LIMIT_VARIABLE = "PTQ_PIPELINE_CACHE", "PTQ_PIPELINE_CACHE_GB"
DEFAULT_LIMIT_GB = 20.0
_ARRIVING = "arriving"
_USED_LATELY_SECONDS = 600
# What a dead process has left is removed after a week: a study may have a folder open for days.
_LONGEST_ARRIVAL_SECONDS = 7 * 24 * 3600


class FileCache:
    """A folder of files by SHA-256.

    Args:
        root: the folder; made when the first file arrives.
        limit: bytes that it may hold.
    """

    def __init__(self, root: Path, limit: int) -> None:
        self.root, self.limit = root, limit

    @classmethod
    def of_this_host(cls) -> "FileCache":
        """Return the cache that the environment variables name, or the one of this user.

        Raises:
            InputError: the limit is no number.
        """
        folder = os.environ.get(FOLDER_VARIABLE)
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        text = os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_LIMIT_GB)
        try:
            limit = float(text)
        except ValueError:
            limit = 0.0
        if not 0 < limit < float("inf"):
            raise InputError(
                f"the environment variable {LIMIT_VARIABLE} is '{text}', which is no number of "
                "gigabytes; give one like 20, or unset it"
            )
        return cls(Path(folder) if folder else home / "ptq_pipeline", int(limit * 1e9))

    def find(self, sha256: str, suffix: str = "") -> Path | None:
        """Return where the file with this content is, after comparing it; None without it."""
        path = self._path(sha256, suffix)
        try:
            whole = path.is_file() and digest(path) == sha256
        except SealError:
            # Another process has just made room.
            return None
        if not whole:
            path.unlink(missing_ok=True)
            return None
        with suppress(OSError):
            # Disks need not keep the time of reading. Every change of it is another hash to make.
            if time.time() - path.stat().st_mtime > _USED_LATELY_SECONDS:
                os.utime(path)
        return path

    @contextmanager
    def fetching(self, sha256: str) -> Iterator[None]:
        """Let one process of this host at a time fetch a file; others then find it."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / sha256[:2]):
            yield

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Yield a new folder beside the files, removed at the end."""
        (self.root / _ARRIVING).mkdir(parents=True, exist_ok=True)
        path = Path(mkdtemp(dir=self.root / _ARRIVING))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def arriving(self, name: str) -> Path:
        """Return where the parts of a file are put together before `add`."""
        path = self.root / _ARRIVING / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def add(self, path: Path, sha256: str, suffix: str = "") -> Path:
        """Take in a complete file, which is moved, and return where it is now.

        Raises:
            InputError: its content has another hash; it is removed.
        """
        found = digest(path)
        if found != sha256:
            size = path.stat().st_size
            path.unlink()
            raise InputError(
                f"a file arrived damaged or cut off: its content has the hash {found[:12]}..., not "
                f"{sha256[:12]}... ({size:,} bytes arrived); run the same command again"
            )
        target = self._path(sha256, suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
        return target

    def make_room(self, size: int) -> None:
        """Remove what was used longest ago until ``size`` more bytes fit.

        Raises:
            NoSpaceError: they cannot fit, by the limit or by the disk.
        """
        self._forget_leftovers()
        if size > self.limit:
            raise NoSpaceError(
                f"a file of {size / 1e9:.3g} GB does not fit into the cache '{self.root}', which "
                f"may hold {self.limit / 1e9:.3g} GB; raise {LIMIT_VARIABLE}"
            )
        files = sorted(self._files(), key=lambda each: each[1].st_mtime_ns)
        held = sum(found.st_size for _, found in files)
        self.root.mkdir(parents=True, exist_ok=True)
        if self._free() + held < size:
            raise NoSpaceError(
                f"no space for the cache '{self.root}': a file needs {size / 1e6:,.0f} MB and "
                f"{self._free() / 1e6:,.0f} MB are free; make room, or name a folder of another "
                f"disk in {FOLDER_VARIABLE}"
            )
        for path, found in files:
            if held + size <= self.limit and self._free() >= size:
                break
            path.unlink(missing_ok=True)
            held -= found.st_size

    def size(self) -> int:
        """Return how many bytes it holds."""
        return sum(found.st_size for _, found in self._files())

    def _path(self, sha256: str, suffix: str) -> Path:
        return self.root / sha256[:2] / f"{sha256}{suffix}"

    def _free(self) -> int:
        return shutil.disk_usage(self.root).free

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.root.glob("[0-9a-f][0-9a-f]/*"):
            # Another process may have made room.
            with suppress(FileNotFoundError):
                yield path, path.stat()

    def _forget_leftovers(self) -> None:
        for path in self.root.glob(f"{_ARRIVING}/*"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _LONGEST_ARRIVAL_SECONDS:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
