"""The audit ledger as a dataset."""

from ptq_pipeline.datasets.local import StateDataset
from ptq_pipeline.judgement.ledger import Ledger


class AuditLedgerDataset(StateDataset):
    """Every question that was asked of audit images: a file, one JSON object per line."""

    def load(self) -> Ledger:
        """Open the ledger; a missing file is an empty one."""
        return Ledger(self._filepath)
