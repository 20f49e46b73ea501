"""A workload as a small document that another process can open: paths and hashes, no data.

Paths below the current folder (the project's root) are written relative to it, so a worker on
another host may have the same data below another root. Everything that is opened is compared with
its hash.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import replacing
from ptq_pipeline.models import Preprocessing
from ptq_pipeline.trials.evaluation import Evaluation
from ptq_pipeline.trials.workload import Workload

ROOT_VARIABLE = "PTQ_PIPELINE_ROOT"
_HASHED_AT_A_TIME = 1 << 24


class ArrayFile(Document):
    """An ``.npy`` file, and the hash of its array, see `array_hash`."""

    file: str
    sha256: str


class DescribedEvaluation(Document):
    """The arrays of an `Evaluation`, by shift."""

    arrays: dict[str, ArrayFile]
    rows: dict[str, ArrayFile]


class DescribedWorkload(Document):
    """What a `Workload` is opened from.

    Attributes:
        fingerprint: of the float model.
        source: what `load_float_model` takes.
        options: of the runtime.
        statistics: folder of the statistics of single images, if they are used. A worker that does
            not have it computes what it needs; it comes to the same numbers.
        grids: low, width and bins of each grid, when trials read histograms.
    """

    fingerprint: str
    source: dict[str, Any]
    runtime: str
    options: dict[str, Any]
    image_shape: tuple[int, int, int]
    batch_size: int
    evaluations: dict[str, DescribedEvaluation]
    sets: dict[str, ArrayFile]
    statistics: str | None = None
    grids: tuple[tuple[float, float, int], ...] | None = None


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

    def files(arrays: Mapping[str, np.ndarray]) -> dict[str, ArrayFile]:
        return {name: _array_file(array, scratch) for name, array in arrays.items()}

    source = dict(workload.model.source)
    folder = None if workload.statistics is None else workload.statistics_folder
    grids = None if workload.statistics is None else workload.statistics.fixed_grids
    return DescribedWorkload(
        fingerprint=workload.model.fingerprint,
        source=source | {"weights": _portable(Path(source["weights"]))},
        runtime=workload.runtime.name,
        options=workload.runtime.options,
        image_shape=workload.image_shape,
        batch_size=workload.batch_size,
        evaluations={
            key: DescribedEvaluation(arrays=files(each.arrays), rows=files(each.rows))
            for key, each in workload.evaluations.items()
        },
        sets=files(workload.sets),
        statistics=None if folder is None else _portable(folder),
        grids=None if grids is None else tuple((g.low, g.width, g.bins) for g in grids),
    )


def open_workload(described: DescribedWorkload, root: Path | None = None) -> Workload:
    """Open everything that a description names.

    Args:
        described: result of `describe`.
        root: where relative paths start; PTQ_PIPELINE_ROOT or the current folder when left out.

    Raises:
        InputError: a file is missing below the root, or is not the one that was described.
    """
    from ptq_pipeline.models.loading import load_float_model
    from ptq_pipeline.ptq.statistics import HistogramGrid
    from ptq_pipeline.runtimes import build_runtime

    root = Path(os.environ.get(ROOT_VARIABLE) or Path.cwd()) if root is None else root
    source = dict(described.source)
    preprocessing = Preprocessing(tuple(source.pop("mean")), tuple(source.pop("std")))
    weights = root / source.pop("weights")
    model = load_float_model(weights=weights, preprocessing=preprocessing, **source)
    if model.fingerprint != described.fingerprint:
        raise InputError(f"'{weights}' on this worker holds another float model than the study's")
    opened: dict[str, np.ndarray] = {}

    def arrays(files: Mapping[str, ArrayFile]) -> dict[str, np.ndarray]:
        for each in files.values():
            if each.sha256 not in opened:
                opened[each.sha256] = _open_array(each, root)
        return {name: opened[each.sha256] for name, each in files.items()}

    grids = described.grids
    return Workload(
        model,
        build_runtime(described.runtime, **described.options),
        described.image_shape,
        evaluations={
            key: Evaluation(pd.DataFrame(), arrays(each.arrays), arrays(each.rows))
            for key, each in described.evaluations.items()
        },
        sets=arrays(described.sets),
        batch_size=described.batch_size,
        statistics_folder=None if described.statistics is None else root / described.statistics,
        grids=None if grids is None else [HistogramGrid(*grid) for grid in grids],
    )


def array_hash(array: np.ndarray) -> str:
    """Return the SHA-256 (hex) of an array's type, shape and bytes, reading a part at a time."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    if not isinstance(array, np.ndarray):
        array = np.asarray(array)
    rows = max(1, _HASHED_AT_A_TIME // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        digest.update(np.ascontiguousarray(array[start : start + rows]).data)
    return digest.hexdigest()


def _array_file(array: np.ndarray, scratch: Path) -> ArrayFile:
    digest = array_hash(array)
    path = _own_file(array)
    if path is None:
        path = scratch / f"{digest[:32]}.npy"
        if not path.exists():
            with replacing(path) as part, part.open("wb") as stream:
                np.save(stream, np.asarray(array), allow_pickle=False)
    return ArrayFile(file=_portable(path), sha256=digest)


def _own_file(array: np.ndarray) -> Path | None:
    """Return the ``.npy`` file that an array is the whole of, or None."""
    name = getattr(array, "filename", None)
    if name is None:
        return None
    try:
        whole = np.load(name, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    same = (whole.shape, whole.dtype, whole.strides) == (array.shape, array.dtype, array.strides)
    return Path(name) if same else None


def _portable(path: Path) -> str:
    path, root = path.absolute(), Path.cwd()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _open_array(described: ArrayFile, root: Path) -> np.ndarray:
    path = root / described.file
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"worker: file '{path}' is missing or damaged ({error}); start the worker in the "
            f"project's folder, or set {ROOT_VARIABLE} to where its data is"
        ) from error
    if array_hash(array) != described.sha256:
        raise InputError(
            f"worker: file '{path}' is not the one the study was started with; copy the data again"
        )
    return array
