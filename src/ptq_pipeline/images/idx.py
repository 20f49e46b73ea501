"""Image source of idx files, the format of MNIST (plain or gzipped)."""

import gzip
import io
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.inputs import local_path, read_regular

MOST_BYTES = 1 << 32
MAGIC_TYPE_UINT8 = 8


def read_idx(path: Path, sha256: str | None = None) -> np.ndarray:
    """Return the uint8 array of an idx file, gzipped when its name ends in ``.gz``.

    ``sha256`` is what the file, as it is stored, must have.

    Raises:
        InputError: if the file is missing, truncated, another one, or no idx file of bytes.
    """
    if not path.exists():
        raise InputError(f"idx file '{path}' does not exist; check the image source's paths")
    try:
        content = read_regular(path, sha256)
        if path.suffix == ".gz":
            # A few compressed megabytes may stand for any number of bytes.
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"idx file '{path}' is truncated or damaged ({error}); fetch it again"
        ) from error
    if len(content) > MOST_BYTES:
        raise InputError(f"idx file '{path}' holds over 4 GiB; divide it into several parts")
    if len(content) < 4 or content[:3] != bytes([0, 0, MAGIC_TYPE_UINT8]):
        raise InputError(f"'{path}' is no idx file of unsigned bytes; check the image source")
    dimensions = content[3]
    offset = 4 + 4 * dimensions
    header = content[4:offset].ljust(4 * dimensions, b"\0")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4"))
    if len(content) - offset != math.prod(shape):
        raise InputError(
            f"idx file '{path}' is truncated: its header says {shape}, "
            f"which does not fit {max(len(content) - offset, 0)} bytes; fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=offset).reshape(shape)


class IdxSource:
    """Pairs of idx files.

    Args:
        parts: each with ``images`` and optional ``labels`` (paths), optional ``splits`` (weights)
            and optional ``sha256`` (of ``images`` and of ``labels``).

    Raises:
        InputError: if a file is missing, damaged, another one or given twice, a part has an unknown
            setting, or shapes do not agree.
    """

    def __init__(self, parts: Sequence[Mapping]) -> None:
        _check_parts(parts)
        self.splits = [dict(part.get("splits") or {}) for part in parts]
        self.left_out: dict[str, int] = {}
        self._arrays = []
        rows = []
        for number, part in enumerate(parts):
            path = local_path(part["images"], "images")
            array = read_idx(path, (part.get("sha256") or {}).get("images"))
            if array.ndim == 3:
                array = array[:, None]
            elif array.ndim == 4:
                array = array.transpose(0, 3, 1, 2)
            else:
                raise InputError(f"idx file '{path}' holds no images: shape {array.shape}")
            frame = pd.DataFrame({"name": [f"{path}[{row}]" for row in range(len(array))]})
            frame["label"] = self._labels(part, len(array))
            frame["part"] = number
            self._arrays.append(array)
            rows.append(frame)
        shapes = {array.shape[1:] for array in self._arrays}
        if len(shapes) != 1:
            raise InputError(f"idx files of one source hold images of different shapes: {shapes}")
        self.shape = shapes.pop()
        self.table = pd.concat(rows, ignore_index=True)
        self._starts = np.cumsum([0, *(len(array) for array in self._arrays)])

    @staticmethod
    def _labels(part: Mapping, count: int) -> np.ndarray | None:
        if part.get("labels") is None:
            return None
        declared = (part.get("sha256") or {}).get("labels")
        labels = read_idx(local_path(part["labels"], "labels"), declared)
        if labels.shape != (count,):
            raise InputError(
                f"'{part['labels']}' holds {labels.shape} labels for {count} images of "
                f"'{part['images']}'; the two files do not belong together"
            )
        return labels.astype(np.int64)

    def read(self, position: int) -> np.ndarray:
        """Return image ``position`` as uint8 ``(C, H, W)``."""
        part = int(np.searchsorted(self._starts, position, side="right")) - 1
        return self._arrays[part][position - self._starts[part]]


def _check_parts(parts: Sequence[Mapping]) -> None:
    if not parts:
        raise InputError("the image source has no 'parts'; give pairs of idx files")
    for part in parts:
        for keys, known, what in (
            (part, ("images", "labels", "splits", "sha256"), "a part"),
            (part.get("sha256") or {}, ("images", "labels"), "'sha256' of a part"),
        ):
            if unknown := sorted(set(keys) - set(known)):
                raise InputError(
                    f"image source: {what} has the setting '{unknown[0]}'; it can have "
                    f"{', '.join(known)}"
                )
        if "images" not in part:
            raise InputError("image source: a part has no 'images', the path of an idx file")
    files = [os.path.realpath(part["images"]) for part in parts]
    for file in files:
        if files.count(file) > 1:
            raise InputError(f"image source: two parts read '{file}', so it would count twice")
