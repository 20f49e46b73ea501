"""The audit ledger as a dataset: nodes receive it as an input and add to it."""

from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from ptq_pipeline.inputs import local_path
from ptq_pipeline.reliability.ledger import Ledger


class AuditLedgerDataset(AbstractDataset):
    """Every question that was asked of audit images; state, never a DVC out.

    Args:
        filepath: The file, one JSON object per line.
    """

    def __init__(self, filepath: str, metadata: Any = None) -> None:
        self._filepath = local_path(filepath)
        self.metadata = metadata

    def load(self) -> Ledger:
        """Open the ledger; a missing file is an empty one."""
        return Ledger(self._filepath)

    def save(self, data: Any) -> NoReturn:
        """Refuse: a ledger is added to, entry by entry."""
        raise DatasetError("AuditLedgerDataset is not saved as a whole")

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
