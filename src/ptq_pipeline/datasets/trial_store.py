"""The trial store as a dataset: nodes receive it as an input and add to it."""

from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from ptq_pipeline.inputs import local_path
from ptq_pipeline.trials.store import TrialStore


class TrialStoreDataset(AbstractDataset):
    """One of the two stateful places of the project; never a DVC out.

    Args:
        filepath: folder of the store.
    """

    def __init__(self, filepath: str, metadata: Any = None) -> None:
        self._filepath = local_path(filepath)
        self.metadata = metadata

    def load(self) -> TrialStore:
        """Open the store; an empty or missing folder is an empty store."""
        return TrialStore(self._filepath)

    def save(self, data: Any) -> NoReturn:
        """Refuse: results are put one by one, as they finish."""
        raise DatasetError("TrialStoreDataset is not saved as a whole")

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
