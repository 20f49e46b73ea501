"""What the datasets of this package share: a place on this machine, and what may be done to it."""

from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from ptq_pipeline.core.inputs import local_path


class LocalDataset(AbstractDataset):
    """A file or a folder of this machine; ``metadata`` is for Kedro plugins and not read."""

    def __init__(self, filepath: str, metadata: Any = None) -> None:
        self._filepath = local_path(filepath)
        self.metadata = metadata

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class StateDataset(LocalDataset):
    """A place that is never a DVC out, as DVC deletes its outs: nodes take it and add to it.

    Before it is first written, it is there and empty.
    """

    refusal = "cannot be saved as a whole; add to what was loaded"

    def save(self, data: Any) -> NoReturn:
        """Refuse."""
        raise DatasetError(f"{type(self).__name__} {self.refusal}")

    def _exists(self) -> bool:
        return True
