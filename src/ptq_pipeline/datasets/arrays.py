"""Arrays, calibration sets and weights: read memory-mapped where possible, written atomically."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ptq_pipeline.calibration.sets import CalibrationSet, load_sets, save_sets
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import replacing, write_file
from ptq_pipeline.datasets.local import LocalDataset

if TYPE_CHECKING:
    from torch import Tensor

_ROWS_AT_A_TIME = 4096


def write_array(path: Path, array: np.ndarray) -> None:
    """Write ``array`` as ``.npy`` through a temporary sibling, some rows at a time."""
    with replacing(path) as scratch:
        target = np.lib.format.open_memmap(scratch, "w+", array.dtype, array.shape)
        for start in range(0, len(array), _ROWS_AT_A_TIME):
            target[start : start + _ROWS_AT_A_TIME] = array[start : start + _ROWS_AT_A_TIME]
        target.flush()
        del target


def read_array(path: Path) -> np.ndarray:
    """Return the array of a ``.npy`` file, memory-mapped and read only.

    Raises:
        InputError: if the file is missing or damaged.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"array file '{path}' is missing or damaged ({error}); run the stage that makes it"
        ) from error


class ArrayDataset(LocalDataset):
    """One ``.npy`` file; loading maps it into memory."""

    def load(self) -> np.ndarray:
        """Return a read-only memory map."""
        return read_array(self._filepath)

    def save(self, data: np.ndarray) -> None:
        """Replace the file."""
        write_array(self._filepath, data)


class ArrayFolderDataset(LocalDataset):
    """A folder of ``.npy`` files as a mapping from name to memory map; saving replaces all."""

    def load(self) -> dict[str, np.ndarray]:
        """Return read-only memory maps by name, in the order of the names."""
        return {path.stem: read_array(path) for path in sorted(self._filepath.glob("*.npy"))}

    def save(self, data: Mapping[str, np.ndarray]) -> None:
        """Write all arrays, then remove those of earlier runs."""
        self._filepath.mkdir(parents=True, exist_ok=True)
        for name, array in data.items():
            write_array(self._filepath / f"{name}.npy", array)
        for path in self._filepath.iterdir():
            if path.suffix != ".npy" or path.stem not in data:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


class CalibrationSetsDataset(LocalDataset):
    """A folder of packed calibration sets by set id; pixels are mapped, not read.

    Saving replaces the folder as a whole, so sets of earlier runs do not stay behind.
    """

    def load(self) -> dict[str, CalibrationSet]:
        """Return all sets in the order of their ids."""
        return load_sets(self._filepath)

    def save(self, data: dict[str, CalibrationSet]) -> None:
        """Replace the folder."""
        save_sets(data, self._filepath)


class SafetensorsDataset(LocalDataset):
    """A state dict in one ``.safetensors`` file, written atomically."""

    def load(self) -> "dict[str, Tensor]":
        """Return the tensors on the CPU."""
        from ptq_pipeline.models.weights import read_weights

        return read_weights(self._filepath)

    def save(self, data: "Mapping[str, Tensor]") -> None:
        """Replace the file."""
        from safetensors.torch import save

        write_file(self._filepath, save(dict(data)))
