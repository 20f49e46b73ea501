"""Seals: beside every table and array, what it holds and what it was made from.

The seal of ``trials.parquet`` is ``.seals/trials.parquet.json`` in the same folder. It holds the
SHA-256 of the content, the parameters that made it, and the content hashes of what it was made
from. Whoever reads a file compares it with its seal; whoever makes evidence also compares the
parameters and the inputs, all the way back to the raw data. A run breaks the seals of what it is
about to make, so a decision of an earlier run cannot be used until the new run has ended.

Seals hold no time and no path: equal runs write equal seals, and DVC keeps them beside its outs.
They find what was changed by accident, by another run or by half a run. Who rewrites a file can
rewrite its seal as well.
"""

import hashlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ptq_pipeline.core.canonical import file_bytes
from ptq_pipeline.core.documents import READING, Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import write_file

FOLDER = ".seals"
# A file changed this shortly before it was hashed may change again without another time stamp.
_SETTLED_NANOSECONDS = 100_000_000

Signature = tuple[tuple[str, int, int, int, int], ...]
_digests: dict[Path, tuple[Signature, str]] = {}


class SealError(InputError):
    """A file is not what its seal says, or comes from another configuration than it should."""


class Seal(Document):
    """What a file or folder holds, and what it was made from.

    Attributes:
        content: SHA-256 (hex), see `digest`; empty while a run is about to make it again.
        node: name of the node that wrote it.
        parameters: canonical hash of every parameter group that it depends on, by name; those of
            its inputs are in their own seals.
        inputs: content hash of every input, by name.
    """

    schema_version: Literal[1] = 1
    content: str
    node: str
    parameters: dict[str, str]
    inputs: dict[str, str]


def signature(path: Path) -> Signature:
    """Return what of a file or folder changes when it is written to, without reading it.

    The time of the last change of status is part of it: it cannot be set back by hand.
    """
    return tuple(
        (each.as_posix(), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        for each in _files(path)
        for stat in (each.stat(),)
    )


def digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file, or of the names and hashes of a folder's files.

    It is read in blocks, and once for as long as nothing writes to it.

    Raises:
        SealError: there is no such file.
    """
    try:
        now = signature(path)
        known = _digests.get(path)
        if known is not None and known[0] == now:
            return known[1]
        found = _file_digest(path) if path.is_file() else _folder_digest(path)
    except OSError as error:
        raise SealError(f"'{path}' is missing or cannot be read ({error})") from error
    newest = max((max(times[3:]) for times in now), default=0)
    if time.time_ns() - newest > _SETTLED_NANOSECONDS:
        _digests[path] = (now, found)
    return found


def seal_path(path: Path) -> Path:
    """Return where the seal of a file or folder is."""
    return path.parent / FOLDER / f"{path.name}.json"


def write_seal(path: Path, seal: Seal) -> None:
    """Write the seal of ``path``."""
    write_file(seal_path(path), file_bytes(seal.to_json()))


def read_seal(path: Path) -> Seal | None:
    """Return the seal of ``path``, or None where it has none.

    Raises:
        SealError: the seal itself is damaged.
    """
    place = seal_path(path)
    try:
        return Seal.model_validate_json(place.read_bytes(), context=READING)
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise SealError(
            f"the seal '{place}' is damaged; run the pipeline that makes '{path}' again"
        ) from error


def break_seals(paths: Iterable[Path]) -> None:
    """Break the seals of these files; nobody uses the files until they are written again."""
    for path in paths:
        if path.exists():
            write_seal(path, Seal(content="", node="", parameters={}, inputs={}))
        else:
            seal_path(path).unlink(missing_ok=True)


def checked_seal(path: Path, name: str) -> Seal:
    """Return the seal of ``path``, which people call ``name``, after comparing the content with it.

    Raises:
        SealError: there is no seal, or the content is not what the seal says.
    """
    seal = read_seal(path)
    if seal is None:
        raise SealError(
            f"'{name}' ({path}) has no seal: another version of this package or another hand wrote "
            "it; run the pipeline that makes it again"
        )
    if not seal.content:
        raise SealError(
            f"'{name}' ({path}) is of an earlier run: a later one began to make it again and did "
            "not end; run the pipeline again"
        )
    if digest(path) != seal.content:
        raise SealError(
            f"'{name}' ({path}) was changed after node '{seal.node}' wrote it; restore it "
            "(`dvc checkout`), or run that node again"
        )
    return seal


def check_origin(
    name: str,
    place: Callable[[str], Path | None],
    parameter: Callable[[str], str | None],
    complain: Callable[[str], None],
) -> dict[str, str]:
    """Check that a file goes back to the inputs that are there and to the parameters of this run.

    Only seals are read: the file has been compared with its own before.

    Args:
        name: the file, by a name that ``place`` knows.
        place: path of a dataset; None for one that has no seal, which is not followed.
        parameter: hash of a parameter group of this run; None for one that is not there.
        complain: told in a sentence about parameters that differ; it may raise.

    Returns:
        Hashes of the inputs that have no seals (the float model), by name.

    Raises:
        SealError: naming the file and the input that differs.
    """
    waiting, seen, others = [name], {name}, dict[str, str]()
    while waiting:
        current = waiting.pop()
        path = place(current)
        if path is None or not path.exists():
            # Not brought here (`dvc pull` of some files): nothing that could be of another age.
            continue
        seal = _whole_seal(path, name, current)
        what = f"'{current}' ({path}) was made"
        again = f"run node '{seal.node}' and what follows again (`kedro run` keeps finished trials)"
        for group, then in seal.parameters.items():
            if parameter(group) not in (None, then):
                other = f"with other parameters '{group.removeprefix('params:')}'"
                complain(f"{what} {other} than those of this run; {again}")
        for source, content in seal.inputs.items():
            origin = place(source)
            if origin is None:
                others[source] = content
                continue
            made = read_seal(origin)
            if made is not None and made.content not in ("", content):
                other = f"from another '{source}' than the one in '{origin}'"
                raise SealError(f"{what} {other}; {again}")
            if source not in seen:
                seen.add(source)
                waiting.append(source)
    return others


def _whole_seal(path: Path, name: str, source: str) -> Seal:
    seal = read_seal(path)
    if seal is None or not seal.content:
        raise SealError(
            f"'{name}' was made from '{source}' ({path}), which a run that did not end was about "
            "to make again; run the pipeline from there on"
        )
    return seal


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if not p.is_dir()) if path.is_dir() else [path]


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _folder_digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in _files(folder):
        found.update(f"{path.relative_to(folder).as_posix()}\0{_file_digest(path)}\n".encode())
    return found.hexdigest()
