"""The places that keep something from run to run."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from kedro.io import DatasetError

from ptq_pipeline.calibration.cache import ValidationCache
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.file_cache import FileCache
from ptq_pipeline.core.inputs import is_url, local_path
from ptq_pipeline.core.objects import ObjectFolder
from ptq_pipeline.datasets.local import StateDataset
from ptq_pipeline.judgement.champion import WAY_OUT, Baseline
from ptq_pipeline.judgement.ledger import Ledger
from ptq_pipeline.registry.agreement import Registry
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


class RegistryDataset(StateDataset):
    """Promoted versions, changed by a release or a rollback only, under its lock.

    ``baseline`` is `champion_baseline.json`, which is in git, outside the registry's folder.
    """

    def __init__(self, filepath: str, baseline: str, metadata: Any = None) -> None:
        super().__init__(filepath, metadata)
        self._baseline = local_path(baseline, "baseline")

    def load(self) -> Any:
        """Return the `Registry`; a missing folder is a registry without versions."""
        return Registry(self._filepath, self._baseline)


class ChampionDataset(RegistryDataset):
    """The files of the version that serves: for whoever serves, load only."""

    def load(self) -> dict[str, Path]:
        """Return the path of every file of the champion by its name, sorted by name.

        Raises:
            DatasetError: nothing was promoted yet.
            VerificationError: the pointer is damaged or names a version that is not there.
        """
        champion = super().load().champion()
        if champion is None:
            raise DatasetError(
                f"the registry '{self._filepath}' has no champion yet; `kedro ptq promote` makes "
                "one"
            )
        paths = [path for path in champion.folder.rglob("*") if path.is_file()]
        names = {path.relative_to(champion.folder).as_posix(): path for path in paths}
        return dict(sorted(names.items()))

    def _exists(self) -> bool:
        return super().load().champion() is not None


class DecisionLogDataset(RegistryDataset):
    """The records of the registry, oldest first, as plain JSON values; load only."""

    def load(self) -> list[dict[str, Any]]:
        """Return all records after checking their chain; none before the first promotion.

        Raises:
            VerificationError: naming the record that is missing, damaged or edited.
        """
        return [record.to_json() for record in super().load().records(needed=False)]


class AuditLedgerDataset(StateDataset):
    """Every question that was asked of audit images: a file, one JSON object per line."""

    def load(self) -> Ledger:
        """Open the ledger; a missing file is an empty one."""
        return Ledger(self._filepath)


class BaselineDataset(StateDataset):
    """The file ``champion_baseline.json``, which is in git: what serves today.

    A project that has released nothing needs no such file. Where the registry is on this machine,
    the file is held against it: against the champion's own baseline, and the head of the log.
    Without ``registry``, its folder, the file is read alone.
    """

    refusal = "is rewritten by a release only"

    def __init__(self, filepath: str, registry: str | None = None, metadata: Any = None) -> None:
        super().__init__(filepath, metadata)
        self._registry = None if registry is None else local_path(registry)

    def load(self) -> Baseline:
        """Return the baseline; the empty one where there is no file.

        Raises:
            InputError: if the file is damaged, edited or of another schema version.
            VerificationError: if it is not what the registry says.
        """
        if self._registry is not None:
            Registry(self._registry, self._filepath).records(needed=False)
        try:
            content = json.loads(self._filepath.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Baseline()
        except (OSError, ValueError) as error:
            raise InputError(f"'{self._filepath}' cannot be read ({error}): {WAY_OUT}") from error
        found = Baseline.from_json(content, str(self._filepath))
        if found.serves and not found.sealed:
            raise InputError(
                f"'{self._filepath}' was written by an earlier release and carries no hash: run "
                "`kedro ptq recover` where the registry is, and commit the file"
            )
        return found
