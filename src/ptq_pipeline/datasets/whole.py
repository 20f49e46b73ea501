"""Kedro's datasets of one file, written as a whole: a killed run leaves the old file or the new."""

from pathlib import Path, PurePosixPath
from typing import Any

from kedro_datasets import json, pandas, text

from ptq_pipeline.core.files import replacing
from ptq_pipeline.core.handed_on import UNCHANGED
from ptq_pipeline.core.inputs import require_no_secret


class Whole:
    """Lets a Kedro dataset write beside its file, and puts that in the file's place at the end.

    A dataset on another host is saved as Kedro saves it.
    """

    _protocol: str
    metadata: dict[str, Any] | None
    _scratch: Path | None = None
    leaves_unchanged = True

    def __init__(self, *, filepath: str, **more: Any) -> None:
        require_no_secret(filepath, "filepath")
        super().__init__(filepath=filepath, **more)
        if self._protocol == "file" and not Path(filepath).exists():
            # Kedro-Viz would warn of a preview that it cannot read.
            metadata = dict(self.metadata or {})
            self.metadata = metadata | {
                "kedro-viz": metadata.get("kedro-viz", {}) | {"preview": False}
            }

    def _get_save_path(self) -> PurePosixPath:
        if self._scratch is not None:
            return PurePosixPath(self._scratch.as_posix())
        return super()._get_save_path()  # type: ignore[misc, no-any-return]

    def save(self, data: Any) -> None:
        """Write the file, or leave the one that is there."""
        if data is UNCHANGED:
            return
        if self._protocol != "file":
            super().save(data)  # type: ignore[misc]
            return
        with replacing(Path(self._get_save_path())) as scratch:
            self._scratch = scratch
            try:
                super().save(data)  # type: ignore[misc]
            finally:
                self._scratch = None


class CSVDataset(Whole, pandas.CSVDataset):
    """A table in a CSV file."""


class JSONDataset(Whole, json.JSONDataset):
    """A document in a JSON file."""


class ParquetDataset(Whole, pandas.ParquetDataset):
    """A table in a Parquet file."""


class TextDataset(Whole, text.TextDataset):
    """A page in a text file."""
