"""Kedro datasets of the calibration stage: the sets, and what is remembered of their validation."""

from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from ptq_pipeline.calibration.cache import ValidationCache
from ptq_pipeline.calibration.sets import CalibrationSet, load_sets, save_sets
from ptq_pipeline.inputs import local_path


class CalibrationSetsDataset(AbstractDataset[dict[str, CalibrationSet], dict[str, CalibrationSet]]):
    """A folder of packed calibration sets by set id; pixels are mapped, not read.

    Saving replaces the folder as a whole, so sets of earlier runs do not stay behind.

    Args:
        filepath: the folder.
        metadata: free for users and plugins.
    """

    def __init__(self, filepath: str, metadata: Any = None) -> None:
        self._filepath = local_path(filepath)
        self.metadata = metadata

    def load(self) -> dict[str, CalibrationSet]:
        """Return all sets in the order of their ids."""
        return load_sets(self._filepath)

    def save(self, data: dict[str, CalibrationSet]) -> None:
        """Replace the folder."""
        save_sets(data, self._filepath)

    def _exists(self) -> bool:
        return self._filepath.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class ValidationCacheDataset(AbstractDataset[None, ValidationCache]):
    """Earlier validation results; nodes take it as an input and add to it.

    Args:
        filepath: JSON file, made when missing. It must not be a DVC out: DVC deletes its outs.
        docs_path: folder for the GX Data Docs; none are built when left out.
        metadata: free for users and plugins.
    """

    def __init__(self, filepath: str, docs_path: str | None = None, metadata: Any = None) -> None:
        self._filepath = local_path(filepath)
        self._docs_path = None if docs_path is None else local_path(docs_path, "docs_path")
        self.metadata = metadata

    def load(self) -> ValidationCache:
        """Open the cache."""
        return ValidationCache(self._filepath, self._docs_path)

    def save(self, data: Any) -> NoReturn:
        """Refuse: results are added through the loaded object."""
        raise DatasetError("ValidationCacheDataset cannot be saved to; update the loaded cache")

    def _exists(self) -> bool:
        # A cache that is not there yet is an empty one.
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "docs_path": str(self._docs_path)}
