"""A workload as a small document that another process can open: names and hashes, no data.

Every file is known by the SHA-256 of its content. Where it is on this machine is only where to look
first: paths below the current folder (the project's root) are written relative to it, so a worker
on another host may have a copy below another root. What is nowhere there is fetched into the cache
of that host. Everything that is opened is compared with its hash.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.file_cache import FileCache
from ptq_pipeline.core.files import replacing
from ptq_pipeline.core.objects import ObjectFolder
from ptq_pipeline.core.seals import SealError, digest
from ptq_pipeline.core.units import finds_objects
from ptq_pipeline.models import Preprocessing
from ptq_pipeline.trials.evaluation import Evaluation
from ptq_pipeline.trials.workload import Workload

log = logging.getLogger(__name__)

ROOT_VARIABLE = "PTQ_PIPELINE_ROOT"
_HASHED_AT_A_TIME = 1 << 24


class NamedFile(Document):
    """A file by its content, and where it is for who named it.

    Attributes:
        file: relative to the project's root, or absolute.
        sha256: of the file's bytes.
        size: in bytes.
    """

    file: str
    sha256: str
    size: int

    @classmethod
    def of(cls, path: Path) -> "NamedFile":
        """Name a file of this machine."""
        return cls(file=_portable(path), sha256=digest(path.absolute()), size=path.stat().st_size)

    @property
    def suffix(self) -> str:
        """What says how it is read, such as ``.npy``."""
        return Path(self.file).suffix

    @property
    def object(self) -> str:
        """What it is called in object storage."""
        return f"files/{self.sha256[:2]}/{self.sha256}{self.suffix}"


class DescribedEvaluation(Document):
    """The arrays of an `Evaluation`, by shift, and its samples where answers depend on them."""

    arrays: dict[str, NamedFile]
    rows: dict[str, NamedFile]
    samples: NamedFile | None = None


class DescribedWorkload(Document):
    """What a `Workload` is opened from.

    Attributes:
        fingerprint: of the float model.
        source: what `load_float_model` takes beside the weights.
        options: of the runtime.
        statistics: folder of the statistics of single images, if they are used.
        rows: its files for this model, by their names in it.
        grids: low, width and bins of each grid, when trials read histograms.
        storage: URL below which the files are too, see `publish`.
    """

    fingerprint: str
    source: dict[str, Any]
    weights: NamedFile
    runtime: str
    options: dict[str, Any]
    image_shape: tuple[int, int, int]
    batch_size: int
    evaluations: dict[str, DescribedEvaluation]
    sets: dict[str, NamedFile]
    statistics: str | None = None
    rows: dict[str, NamedFile] = {}
    grids: tuple[tuple[float, float, int], ...] | None = None
    storage: str | None = None

    def files(self) -> Iterator[NamedFile]:
        """Yield every file that is read, each content once."""
        arrays = [each for one in self.evaluations.values() for each in one.arrays.values()]
        positions = [each for one in self.evaluations.values() for each in one.rows.values()]
        samples = [each.samples for each in self.evaluations.values() if each.samples is not None]
        read = [self.weights, *arrays, *positions, *samples]
        read += [*self.sets.values(), *self.rows.values()]
        yield from {each.sha256: each for each in read}.values()


class Files:
    """Where a process finds the files of a description: below a root, or in a host's cache.

    Args:
        root: where relative paths start; PTQ_PIPELINE_ROOT or the current folder when left out.
        cache: None looks below the root only.
    """

    def __init__(self, root: Path | None = None, cache: FileCache | None = None) -> None:
        self.root = Path(os.environ.get(ROOT_VARIABLE) or Path.cwd()) if root is None else root
        self.cache = cache

    def find(self, named: NamedFile) -> Path | None:
        """Return where a file with this content is, or None."""
        path = (self.root / named.file).absolute()
        with suppress(OSError, SealError):
            if path.stat().st_size == named.size and digest(path) == named.sha256:
                return path
        return None if self.cache is None else self.cache.find(named.sha256, named.suffix)

    def path(self, named: NamedFile) -> Path:
        """Return where a file is.

        Raises:
            InputError: it is missing, or not the one that was described.
        """
        found = self.find(named)
        if found is None:
            path = self.root / named.file
            wrong = "is not the one the study was started with" if path.exists() else "is missing"
            raise InputError(f"worker: file '{path}' {wrong}; start the command again")
        return found

    def missing(self, described: DescribedWorkload) -> list[NamedFile]:
        """Return what is neither here nor in the study's storage, after fetching what is there."""
        storage = None if described.storage is None else ObjectFolder(described.storage)
        return [each for each in described.files() if not self._have(each, storage)]

    def _have(self, named: NamedFile, storage: ObjectFolder | None) -> bool:
        if self.find(named) is not None:
            return True
        if storage is None or self.cache is None:
            return False
        with self.cache.fetching(named.sha256):
            if self.cache.find(named.sha256, named.suffix) is not None:
                return True
            self.cache.make_room(named.size)
            with self.cache.folder() as folder:
                arriving = folder / named.sha256
                if not storage.fetch(named.object, arriving):
                    return False
                self.cache.add(arriving, named.sha256, named.suffix)
        return True


def publish(described: DescribedWorkload, objects: ObjectFolder) -> DescribedWorkload:
    """Bring the files of a description to object storage, where workers elsewhere fetch them."""
    sent = [each for each in described.files() if objects.upload(Path(each.file), each.object)]
    if sent:
        size = sum(each.size for each in sent)
        log.info("sent %d files, %.1f MB, to '%s'", len(sent), size / 1e6, objects.url)
    return described.model_copy(update={"storage": objects.url})


def describe(workload: Workload, scratch: Path) -> DescribedWorkload:
    """Return what `open_workload` needs.

    Arrays without a file of their own are written to ``scratch``; keep it while the description is
    in use.

    Raises:
        InputError: the float model was not loaded from a file.
    """
    if workload.model.source is None:
        raise InputError(
            "trials can run in other processes only when the float model was loaded from a file "
            "(load_float_model); use the serial executor for this one"
        )

    known: dict[int, NamedFile] = {}

    def files(arrays: Mapping[str, np.ndarray]) -> dict[str, NamedFile]:
        for array in arrays.values():
            if id(array) not in known:
                known[id(array)] = _array_file(array, scratch / f"{len(known)}.npy")
        return {name: known[id(array)] for name, array in arrays.items()}

    source = dict(workload.model.source)
    statistics, folder = workload.statistics, workload.statistics_folder
    grids = None if statistics is None else statistics.fixed_grids
    rows: dict[str, NamedFile] = {}
    if statistics is not None and folder is not None:
        found = sorted(path for path in statistics.folder.glob("*") if path.is_file())
        rows = {path.relative_to(folder).as_posix(): NamedFile.of(path) for path in found}
    return DescribedWorkload(
        fingerprint=workload.model.fingerprint,
        weights=NamedFile.of(Path(source.pop("weights"))),
        source=source,
        runtime=workload.runtime.name,
        options=workload.runtime.options,
        image_shape=workload.image_shape,
        batch_size=workload.batch_size,
        evaluations={
            key: DescribedEvaluation(
                arrays=files(each.arrays),
                rows=files(each.rows),
                samples=_samples_file(each.samples, scratch / f"{key}.parquet"),
            )
            for key, each in workload.evaluations.items()
        },
        sets=files(workload.sets),
        statistics=None if statistics is None or folder is None else _portable(folder),
        rows=rows,
        grids=None if grids is None else tuple((g.low, g.width, g.bins) for g in grids),
    )


def open_workload(described: DescribedWorkload, files: Files, kept: ExitStack) -> Workload:
    """Open everything that a description names.

    Args:
        described: result of `describe`.
        files: where its files are.
        kept: closed when the workload is no longer used.

    Raises:
        InputError: a file is missing, or is not the one that was described.
    """
    from ptq_pipeline.models.loading import load_float_model
    from ptq_pipeline.ptq.statistics import HistogramGrid
    from ptq_pipeline.runtimes import build_runtime

    source = dict(described.source)
    preprocessing = Preprocessing(tuple(source.pop("mean")), tuple(source.pop("std")))
    weights = files.path(described.weights)
    model = load_float_model(weights=weights, preprocessing=preprocessing, **source)
    if model.fingerprint != described.fingerprint:
        raise InputError(
            f"'{weights}' becomes another float model on this worker than in the study: its code "
            f"of the network '{described.source['factory']}' differs; install the same there"
        )
    opened: dict[str, np.ndarray] = {}

    def arrays(named: Mapping[str, NamedFile]) -> dict[str, np.ndarray]:
        for each in named.values():
            if each.sha256 not in opened:
                opened[each.sha256] = np.load(files.path(each), mmap_mode="r", allow_pickle=False)
        return {name: opened[each.sha256] for name, each in named.items()}

    grids = described.grids
    return Workload(
        model,
        build_runtime(described.runtime, **described.options),
        described.image_shape,
        evaluations={
            key: Evaluation(
                _samples(each.samples, files),
                arrays(each.arrays),
                arrays(each.rows),
                model.task,
            )
            for key, each in described.evaluations.items()
        },
        sets=arrays(described.sets),
        batch_size=described.batch_size,
        statistics_folder=_statistics(described, files, kept),
        grids=None if grids is None else [HistogramGrid(*grid) for grid in grids],
    )


def _statistics(described: DescribedWorkload, files: Files, kept: ExitStack) -> Path | None:
    """Return a folder with the statistics of single images, to which a worker may add."""
    if described.statistics is None:
        return None
    own = files.root / described.statistics
    if files.cache is None or all((own / name).exists() for name in described.rows):
        return own
    folder = kept.enter_context(files.cache.folder())
    for name, each in described.rows.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        path = files.path(each)
        try:
            os.link(path, folder / name)
        except OSError:
            shutil.copyfile(path, folder / name)
    return folder


def _samples(named: NamedFile | None, files: Files) -> pd.DataFrame:
    return pd.DataFrame() if named is None else pd.read_parquet(files.path(named))


def _samples_file(samples: pd.DataFrame, path: Path) -> NamedFile | None:
    """Write down which objects are on images; a worker needs to know of them, and of no label."""
    if not finds_objects(samples):
        return None
    with replacing(path) as part:
        samples.to_parquet(part)
    return NamedFile.of(path)


def _array_file(array: np.ndarray, scratch: Path) -> NamedFile:
    """Name the ``.npy`` file that an array is the whole of, or write it to ``scratch``."""
    name = getattr(array, "filename", None)
    if name is not None and array.flags.c_contiguous:
        with suppress(OSError, ValueError, EOFError):
            whole = np.load(name, mmap_mode="r", allow_pickle=False)
            if (whole.shape, whole.dtype, whole.strides) == (
                array.shape, array.dtype, array.strides
            ):  # fmt: skip
                # The array is hashed and not the file, which may have been replaced meanwhile.
                with open(name, "rb") as stream:
                    header = stream.read(whole.offset)
                size = whole.offset + whole.nbytes
                return NamedFile(file=_portable(Path(name)), sha256=_hash(header, array), size=size)
    with replacing(scratch) as part, part.open("wb") as stream:
        np.save(stream, np.asarray(array), allow_pickle=False)
    return NamedFile.of(scratch)


def _hash(header: bytes, array: np.ndarray) -> str:
    """Return the SHA-256 (hex) of an array's file, reading a part at a time."""
    found = hashlib.sha256(header)
    rows = max(1, _HASHED_AT_A_TIME // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        found.update(np.ascontiguousarray(array[start : start + rows]).data)
    return found.hexdigest()


def _portable(path: Path) -> str:
    path, root = path.absolute(), Path.cwd()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
