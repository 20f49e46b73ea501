"""The places that keep something from run to run; the registry has a module of its own."""

from hashlib import sha256
from typing import Any

from ptq_pipeline.calibration.cache import ValidationCache
from ptq_pipeline.core.file_cache import FileCache
from ptq_pipeline.core.inputs import is_url, local_path
from ptq_pipeline.core.objects import ObjectFolder
from ptq_pipeline.datasets.local import StateDataset
from ptq_pipeline.judgement.ledger import Ledger
from ptq_pipeline.trials.trial import TrialStore


class TrialStoreDataset(StateDataset):
    """Results of trials by their hash: put one by one as they finish.

    ``filepath`` is a folder, or a URL like ``s3://bucket/trials`` that hosts share. What a host
    computes on the way, such as statistics of single images, is then kept in its cache.
    """

    def __init__(self, filepath: str, metadata: Any = None) -> None:
        self._objects = ObjectFolder(filepath) if is_url(filepath) else None
        if self._objects is None:
            super().__init__(filepath, metadata)
        else:
            name = sha256(self._objects.url.encode()).hexdigest()[:16]
            super().__init__(str(FileCache.of_this_host().root / "stores" / name), metadata)

    def load(self) -> TrialStore:
        """Open the store; an empty or missing folder is an empty store.

        Raises:
            InputError: the URL leads to nothing that can be read and written.
            StorageError: the storage does not answer, or lets nobody in.
        """
        if self._objects is not None:
            self._objects.require()
        return TrialStore(self._filepath, self._objects)

    def _describe(self) -> dict[str, Any]:
        if self._objects is None:
            return super()._describe()
        url = self._objects.url
        return {"filepath": url, "protocol": url.partition(":")[0]}


class ValidationCacheDataset(StateDataset):
    """Earlier validation results of calibration sets, in a JSON file that is made when missing.

    GX Data Docs go to ``docs_path``; none are built when it is left out.
    """

    def __init__(self, filepath: str, docs_path: str | None = None, metadata: Any = None) -> None:
        super().__init__(filepath, metadata)
        self._docs_path = None if docs_path is None else local_path(docs_path, "docs_path")

    def load(self) -> ValidationCache:
        """Open the cache."""
        return ValidationCache(self._filepath, self._docs_path)


class AuditLedgerDataset(StateDataset):
    """Every question that was asked of audit images: a file, one JSON object per line."""

    def load(self) -> Ledger:
        """Open the ledger; a missing file is an empty one."""
        return Ledger(self._filepath)
