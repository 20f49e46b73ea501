"""Writing that leaves the old content or the new, whenever a process dies or the power goes.

What is being written is in a hidden folder beside its target, `.NAME.HOST.XXXXXXXX.tmp`, which its
writer keeps locked. A lock ends with its process, so whoever writes beside it later knows which of
these folders are left over, and removes them. Some network file systems keep locks to one host, so
those of another host are left alone for a day.
"""

import errno
import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp

from ptq_pipeline.core.errors import FORBIDDEN, InputError, WriteError

_HOLDER = re.compile(r"\.(?P<name>.+?)\.((?P<host>[0-9a-f]{8})\.)?[a-z0-9_]{8}\.tmp")
_OLD = ".old"
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, *FORBIDDEN}
# Where locks say nothing of a writer, it is taken to be done after a day.
_LONGEST_WRITE_SECONDS = 24 * 3600
_cleaned: set[Path] = set()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; the file there takes the place of ``path`` at the end.

    It is on the disk when this returns. When the block raises, ``path`` keeps its old content. The
    folder is made when it is missing.
    """
    with _holder(path) as holder:
        scratch = holder / path.name
        yield scratch
        _sync(scratch)
        os.replace(scratch, path)
        _sync(path.parent)


def write_file(path: Path, content: bytes) -> None:
    """Write or replace a file; see :func:`replacing`."""
    with replacing(path) as scratch:
        scratch.write_bytes(content)


def write_once(path: Path, content: bytes) -> None:
    """Write a new file; it appears complete.

    Raises:
        FileExistsError: the file is already there; it is left as it is.
    """
    with _holder(path) as holder:
        scratch = holder / path.name
        scratch.write_bytes(content)
        _sync(scratch)
        os.link(scratch, path)
        _sync(path.parent)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; at the end it takes the place of ``folder``.

    It is on the disk when this returns. When the block raises, ``folder`` keeps its old content.
    A process that is killed between the two renames at the end leaves no ``folder``; `clean` and
    the next writer bring the old one back. What was mapped from the old folder stays readable.
    """
    with _holder(folder) as holder:
        scratch, old = holder / folder.name, holder / f"{folder.name}{_OLD}"
        scratch.mkdir()
        yield scratch
        for inside, _, names in os.walk(scratch, topdown=False):
            for name in names:
                _sync(Path(inside) / name)
            _sync(Path(inside))
        try:
            if folder.exists():
                os.rename(folder, old)
            os.rename(scratch, folder)
        except BaseException:
            _bring_back(old, folder)
            raise
        _sync(folder.parent)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write or replace a folder by these files, by their names in it; see `replacing_folder`.

    Raises:
        InputError: a name is absolute or leaves the folder.
    """
    for name in files:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts:
            raise InputError(f"file name '{name}' leaves the folder '{folder}'")
    with replacing_folder(folder) as scratch:
        for name, content in files.items():
            target = scratch / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def remove(path: Path) -> None:
    """Remove a file or a folder, which disappears as a whole; one that is missing stays so."""
    if not path.exists():
        return
    with _holder(path) as holder:
        os.rename(path, holder / path.name)
        _sync(path.parent)


def clean(folder: Path) -> None:
    """Remove what dead processes left in ``folder``, not in the folders below it.

    A folder that one of them had moved aside, and whose place is empty, is put back.
    """
    with suppress(OSError):
        for path in folder.iterdir():
            found = _HOLDER.fullmatch(path.name)
            if found and path.is_dir() and not path.is_symlink():
                if found["host"] in (None, _host()) or _is_old(path):
                    _remove_if_left(path, folder / found["name"])


@contextmanager
def _holder(target: Path) -> Iterator[Path]:
    """Yield a new hidden folder beside ``target``, locked until it is removed at the end."""
    with _said(target):
        _make_folder(target.parent)
        _clean_once(target.parent)
        while True:
            prefix = f".{target.name}.{_host()}."
            holder = Path(mkdtemp(prefix=prefix, suffix=".tmp", dir=target.parent))
            lock = _lock(holder)
            # Another process may have taken it for a leftover before it was locked.
            if lock is not None and holder.is_dir():
                break
            _unlock(lock)
        try:
            yield holder
        finally:
            shutil.rmtree(holder, ignore_errors=True)
            _unlock(lock)


def _host() -> str:
    """Return what this host is called in names of files."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


@contextmanager
def _said(target: Path) -> Iterator[None]:
    """Say in a sentence that the disk is full or broken, or may not be written to."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        raise WriteError(target, error) from error


def _clean_once(folder: Path) -> None:
    """A process looks once into each folder that it writes to."""
    key = folder.absolute()
    if key not in _cleaned:
        _cleaned.add(key)
        clean(folder)


def _remove_if_left(holder: Path, target: Path) -> None:
    lock = _lock(holder, new=False)
    if lock is None:
        return
    try:
        _bring_back(holder / f"{target.name}{_OLD}", target)
        shutil.rmtree(holder, ignore_errors=True)
    finally:
        _unlock(lock)


def _bring_back(old: Path, folder: Path) -> None:
    if old.is_dir() and not folder.exists():
        os.rename(old, folder)


_NO_LOCKS = -1


def _lock(holder: Path, new: bool = True) -> int | None:
    """Return a handle that locks ``holder``, or None where another process holds it."""
    try:
        import fcntl

        handle = os.open(holder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except (ImportError, OSError):  # pragma: no cover - folders cannot be opened on Windows
        return _NO_LOCKS if new or _is_old(holder) else None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:  # pragma: no cover - some network file systems lock no folders
        os.close(handle)
        return _NO_LOCKS if new or _is_old(holder) else None
    return handle


def _unlock(handle: int | None) -> None:
    if handle is not None and handle != _NO_LOCKS:
        os.close(handle)


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _LONGEST_WRITE_SECONDS


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, on the disk when this returns."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(
            f"'{folder}' cannot be a folder: a file is in its place; choose another place"
        ) from None
    for each in missing:
        _sync(each.parent)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # pragma: no cover - folders cannot be opened there
        return
    # Windows flushes only what was opened for writing.
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems write folders through and refuse to be asked.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(handle)
