"""A workload as a small description that another process can open: paths and hashes, no data.

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

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import replacing
from ptq_pipeline.models import Preprocessing
from ptq_pipeline.trials.evaluation import Evaluation
from ptq_pipeline.trials.workload import Workload

ROOT_VARIABLE = "PTQ_PIPELINE_ROOT"
_HASHED_AT_A_TIME = 1 << 24


def describe(workload: Workload, scratch: Path) -> dict[str, Any]:
    """Return what `open_workload` needs, as JSON types.

    Args:
        workload: what to describe.
        scratch: arrays that stand in no file of their own are written here; keep the folder while
            the description is in use.

    Raises:
        InputError: the float model was not loaded from a file.
    """
    if workload.model.source is None:
        raise InputError(
            "trials can run in other processes only when the float model was loaded from a file "
            "(load_float_model); use the serial executor for this one"
        )
    root = Path.cwd()
    source = dict(workload.model.source)
    source["weights"] = _portable(Path(source["weights"]), root)
    content = {
        "model": {"fingerprint": workload.model.fingerprint, "source": source},
        "runtime": {"name": workload.runtime.name, "options": workload.runtime.options},
        "image_shape": list(workload.image_shape),
        "batch_size": workload.batch_size,
        "evaluations": {
            key: {
                "arrays": _reference_all(evaluation.arrays, scratch, root),
                "rows": _reference_all(evaluation.rows, scratch, root),
            }
            for key, evaluation in workload.evaluations.items()
        },
        "sets": _reference_all(workload.sets, scratch, root),
        "statistics": _statistics(workload, root),
    }
    return {"key": canonical_hash(content), **content}


def open_workload(description: Mapping[str, Any], root: Path | None = None) -> Workload:
    """Open everything that a description names.

    Args:
        description: result of `describe`.
        root: folder that relative paths start from; the environment variable PTQ_PIPELINE_ROOT,
            or else the current folder, when left out.

    Raises:
        InputError: a file is missing below the root, or is not the one that was described.
    """
    from ptq_pipeline.models.loading import load_float_model
    from ptq_pipeline.runtimes import build_runtime

    root = Path(os.environ.get(ROOT_VARIABLE) or Path.cwd()) if root is None else root
    source = dict(description["model"]["source"])
    mean, std = source.pop("mean"), source.pop("std")
    weights = root / source.pop("weights")
    model = load_float_model(
        weights=weights, preprocessing=Preprocessing(tuple(mean), tuple(std)), **source
    )
    if model.fingerprint != description["model"]["fingerprint"]:
        raise InputError(f"'{weights}' on this worker holds another float model than the study's")
    opened: dict[str, np.ndarray] = {}
    return Workload(
        model,
        build_runtime(description["runtime"]["name"], **description["runtime"]["options"]),
        tuple(description["image_shape"]),
        {
            key: Evaluation(
                pd.DataFrame(),
                {n: _open_array(r, root, opened) for n, r in content["arrays"].items()},
                {n: _open_array(r, root, opened) for n, r in content["rows"].items()},
            )
            for key, content in description["evaluations"].items()
        },
        {name: _open_array(ref, root, opened) for name, ref in description["sets"].items()},
        description["batch_size"],
        **_open_statistics(description["statistics"], root),
    )


def _statistics(workload: Workload, root: Path) -> dict[str, Any] | None:
    """Return where statistics of single images are, and their grids when trials read histograms.

    A worker that does not have these files computes what it needs; it comes to the same numbers.
    """
    if workload.statistics_folder is None or workload.statistics is None:
        return None
    grids = workload.statistics.fixed_grids
    return {
        "folder": _portable(workload.statistics_folder, root),
        "grids": None if grids is None else [[g.low, g.width, g.bins] for g in grids],
    }


def _reference_all(
    arrays: Mapping[str, np.ndarray], scratch: Path, root: Path
) -> dict[str, dict[str, str]]:
    return {name: _reference(array, scratch, root) for name, array in arrays.items()}


def _reference(array: np.ndarray, scratch: Path, root: Path) -> dict[str, str]:
    digest = array_hash(array)
    path = _own_file(array)
    if path is None:
        path = scratch / f"{digest[:32]}.npy"
        if not path.exists():
            with replacing(path) as part, part.open("wb") as stream:
                np.save(stream, np.asarray(array), allow_pickle=False)
    return {"file": _portable(path, root), "sha256": digest}


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


def array_hash(array: np.ndarray) -> str:
    """Return the SHA-256 (hex) of an array's type, shape and bytes, reading a part at a time."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    if not isinstance(array, np.ndarray):
        array = np.asarray(array)
    rows = max(1, _HASHED_AT_A_TIME // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        digest.update(np.ascontiguousarray(array[start : start + rows]).data)
    return digest.hexdigest()


def _open_statistics(statistics: Mapping[str, Any] | None, root: Path) -> dict[str, Any]:
    """Return folder and grids of a workload, by their names."""
    from ptq_pipeline.ptq.statistics import HistogramGrid

    if statistics is None:
        return {}
    grids = statistics["grids"]
    return {
        "statistics_folder": root / statistics["folder"],
        "grids": None if grids is None else [HistogramGrid(*grid) for grid in grids],
    }


def _portable(path: Path, root: Path) -> str:
    path = path.absolute()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _open_array(
    reference: Mapping[str, str], root: Path, opened: dict[str, np.ndarray]
) -> np.ndarray:
    digest = reference["sha256"]
    if digest in opened:
        return opened[digest]
    path = root / reference["file"]
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"worker: file '{path}' is missing or damaged ({error}); start the worker in the "
            f"project's folder, or set {ROOT_VARIABLE} to where its data stands"
        ) from error
    if array_hash(array) != digest:
        raise InputError(
            f"worker: file '{path}' is not the one the study was started with; copy the data again"
        )
    opened[digest] = array
    return array
