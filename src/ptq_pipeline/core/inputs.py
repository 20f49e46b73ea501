"""Files that others bring: on this machine, regular, and unchanged where their hash is declared."""

import hashlib
import os
import re
import stat
from io import BufferedReader
from pathlib import Path

from ptq_pipeline.core.errors import InputError

# Two letters or more before the colon: one letter is a drive of Windows.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(:|/)")
# What may hold a secret: `name:password@`, and whatever follows a question mark. Azure's
# `abfs://container@account` names no secret.
_SECRET = re.compile(r"(?<=//)[^/@:]*:[^@]*@|\?.*", re.DOTALL)
_LFS = b"version https://git-lfs.github.com/spec/"
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def is_url(text: object) -> bool:
    """Say whether a setting is a URL, such as ``s3://bucket/images``, and no path."""
    return bool(_URL.match(str(text)))


def require_no_secret(text: object, setting: str) -> None:
    """Refuse a URL that holds a password or a signature, without showing it.

    Settings are hashed, logged and copied into results, so a secret in one of them is one no more.

    Raises:
        InputError: It holds one.
    """
    if is_url(text) and _SECRET.search(str(text)):
        shown = _SECRET.sub("...", str(text))
        raise InputError(
            f"'{setting}: {shown}' holds a name, a password or a signature; take it out of the URL "
            "and out of the file's history, and give credentials as the storage's own tools read "
            "them (environment, configuration files, roles of the machine)"
        )


def local_path(text: str | Path, setting: str = "filepath") -> Path:
    """Return what a ``setting`` of a catalog entry says as a path of this machine.

    Raises:
        InputError: It is a URL, such as ``s3://bucket/images``, which would silently become a
            folder of that name.
    """
    require_no_secret(text, setting)
    if is_url(text):
        raise InputError(
            f"'{setting}: {text}' is a URL, and only files of this machine can be used here; copy "
            "or mount it, and give that path"
        )
    return Path(text)


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading, without ever waiting for a pipe or a device.

    Raises:
        InputError: It is no regular file.
    """
    without_waiting = getattr(os, "O_NONBLOCK", 0)
    _check_regular(path, os.stat(path))
    handle = open(path, "rb", opener=lambda name, flags: os.open(name, flags | without_waiting))
    try:
        # It may have been exchanged since.
        _check_regular(path, os.fstat(handle.fileno()))
        if handle.peek(len(_LFS)).startswith(_LFS):
            raise InputError(
                f"'{path}' is a pointer of Git LFS and not the file itself; fetch it: git lfs pull"
            )
    except InputError:
        handle.close()
        raise
    return handle


def _check_regular(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise InputError(f"'{path}' is {kind}, and only regular files are read; take it away")


def check_sha256(handle: BufferedReader, path: Path, declared: str | None) -> None:
    """Hold an open file against its declared SHA-256, if any, and go back to its start.

    Raises:
        InputError: The content is another, or what is declared is no SHA-256.
    """
    if declared is None:
        return
    if not re.fullmatch(r"[0-9a-fA-F]{64}", str(declared)):
        raise InputError(
            f"the 'sha256' of '{path}' is '{declared}', which is no SHA-256 of 64 hexadecimal "
            "digits; give what 'sha256sum' prints"
        )
    found = hashlib.file_digest(handle, "sha256").hexdigest()
    handle.seek(0)
    if found != declared.lower():
        raise InputError(
            f"'{path}' is not the file that its 'sha256' declares: {declared.lower()[:12]}..., but "
            f"its content has {found[:12]}...; restore the file, or declare the new "
            "hash if the change is meant"
        )


def read_regular(path: Path, declared: str | None = None) -> bytes:
    """Return the content of a regular file that has the declared SHA-256, if one is declared.

    Raises:
        InputError: It is no regular file, or not the one that was declared.
    """
    with open_regular(path) as handle:
        check_sha256(handle, path, declared)
        return handle.read()
