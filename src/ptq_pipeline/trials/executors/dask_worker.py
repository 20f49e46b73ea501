"""What runs on a Dask worker: it tells what it is, takes in a study's data and runs trials."""

import platform
import shutil
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

from ptq_pipeline.core.errors import PtqPipelineError
from ptq_pipeline.core.file_cache import FileCache
from ptq_pipeline.core.provenance import cpu_flags, installed, source_hash
from ptq_pipeline.trials.description import DescribedWorkload, Files, NamedFile, open_workload
from ptq_pipeline.trials.executors.base import Trouble, answer
from ptq_pipeline.trials.trial import TrialOutcome, TrialSpec
from ptq_pipeline.trials.workload import Workload

PACKAGES = ("ptq-pipeline", "numpy", "torch", "torchvision", "openvino", "onnxruntime")
# Parts of this package that decide what a trial answers.
DECIDING = ("ptq", "runtimes", "models", "trials")

# The workload that this worker process has open; studies come one after the other.
_OPENED: dict[str, Workload] = {}
_KEPT = ExitStack()


@dataclass(frozen=True)
class Opened:
    """What a worker answers that is asked to open a study.

    Attributes:
        environment: see `environment`.
        error: why it cannot take part, or "".
        missing: SHA-256 of the files that it has nowhere.
    """

    environment: Mapping[str, Any]
    error: str = ""
    missing: tuple[str, ...] = ()


def open_on_worker(key: str, described: Mapping[str, Any]) -> Opened:
    """Open a study's data, or say what is missing for it.

    The description comes as JSON, which every release can unpack: a worker of another one says so.
    """
    if key in _OPENED:
        return Opened(environment())
    _OPENED.clear()
    _KEPT.close()
    try:
        study = DescribedWorkload.read(described)
        files = Files(cache=FileCache.of_this_host())
        if missing := files.missing(study):
            return Opened(environment(), missing=tuple(each.sha256 for each in missing))
        _OPENED[key] = open_workload(study, files, _KEPT)
    except PtqPipelineError as error:
        return Opened(environment(), str(error))
    return Opened(environment())


def keep_on_worker(named: Mapping[str, Any], sending: str, offset: int, part: bytes) -> str:
    """Take in a part of a file, in order; return why that is impossible, or "".

    Args:
        named: a `NamedFile`, as JSON.
        sending: name of this transfer.
        offset: where the part begins.
        part: its bytes; with the last one the file is compared with its hash.
    """
    file, cache = NamedFile.read(named), FileCache.of_this_host()
    path = cache.arriving(f"{file.sha256[:16]}-{sending}")
    try:
        if offset == 0:
            cache.make_room(file.size)
        with path.open("r+b" if offset else "wb") as stream:
            stream.seek(offset)
            stream.write(part)
        if offset + len(part) == file.size:
            cache.add(path, file.sha256, file.suffix)
    except (PtqPipelineError, OSError) as error:
        path.unlink(missing_ok=True)
        return str(error)
    return ""


def run_on_worker(key: str, spec: TrialSpec) -> tuple[str, TrialOutcome | Trouble] | None:
    """Return this worker's address and what a trial gave; None where its data is not open."""
    from distributed import get_worker

    return (get_worker().address, answer(_OPENED[key], spec)) if key in _OPENED else None


@dataclass(frozen=True)
class Machine:
    """What a worker tells of itself.

    Attributes:
        host: name of its host.
        environment: see `environment`.
        cache: folder of its host's cache.
        held: bytes in it.
        limit: bytes that it may hold.
        free: bytes free on its disk.
        problem: why it has no cache that can be used, or "".
    """

    host: str
    environment: Mapping[str, Any]
    cache: str = ""
    held: int = 0
    limit: int = 0
    free: int = 0
    problem: str = ""


def about_worker() -> Machine:
    """Return what this worker is and has room for."""
    host = socket.gethostname()
    try:
        cache = FileCache.of_this_host()
        cache.make_room(0)
    except (PtqPipelineError, OSError) as error:
        return Machine(host, environment(), problem=str(error))
    free = shutil.disk_usage(cache.root).free
    return Machine(host, environment(), str(cache.root), cache.size(), cache.limit, free)


@cache
def environment() -> dict[str, Any]:
    """Return what must be equal on all workers for equal results."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "machine": platform.machine(),
        "cpu_flags": cpu_flags(),
        "source code": source_hash(*DECIDING)[:16],
        **installed(PACKAGES),
    }


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return in words how a worker's environment differs, or ""."""
    return "; ".join(
        f"{key} is {found.get(key)} there and {expected.get(key)} here"
        for key in sorted({*expected, *found})
        if expected.get(key) != found.get(key)
    )
