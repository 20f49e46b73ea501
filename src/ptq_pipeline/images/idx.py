"""Image source of idx files, the format of MNIST (plain or gzipped)."""

import gzip
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ptq_pipeline.errors import InputError

MAGIC_TYPE_UINT8 = 8


def read_idx(path: Path) -> np.ndarray:
    """Return the uint8 array of an idx file.

    Raises:
        InputError: if the file is missing, truncated, or no idx file of bytes.
    """
    if not path.is_file():
        raise InputError(f"idx file '{path}' does not exist; check the image source's paths")
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"idx file '{path}' is truncated or damaged ({error}); fetch it again"
        ) from error
    if len(content) < 4 or content[:3] != bytes([0, 0, MAGIC_TYPE_UINT8]):
        raise InputError(f"'{path}' is no idx file of unsigned bytes; check the image source")
    dimensions = content[3]
    offset = 4 + 4 * dimensions
    header = content[4:offset].ljust(4 * dimensions, b"\0")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4"))
    if len(content) - offset != int(np.prod(shape)):
        raise InputError(
            f"idx file '{path}' is truncated: its header says {shape}, "
            f"which does not fit {max(len(content) - offset, 0)} bytes; fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=offset).reshape(shape)


class IdxSource:
    """Pairs of idx files.

    Args:
        parts: each with ``images`` and optional ``labels`` (paths) and optional ``splits``.

    Raises:
        InputError: if a file is missing or damaged, or shapes do not agree.
    """

    def __init__(self, parts: Sequence[Mapping]) -> None:
        self.splits = [dict(part.get("splits") or {}) for part in parts]
        self._arrays = []
        rows = []
        for number, part in enumerate(parts):
            path = Path(part["images"])
            array = read_idx(path)
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
        labels = read_idx(Path(part["labels"]))
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
