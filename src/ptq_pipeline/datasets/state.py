"""The places that keep something from run to run, beside ledger and baseline."""

from pathlib import Path
from typing import Any

from kedro.io import DatasetError

from ptq_pipeline.calibration.cache import ValidationCache
from ptq_pipeline.core.inputs import local_path
from ptq_pipeline.datasets.local import StateDataset
from ptq_pipeline.registry import Registry
from ptq_pipeline.trials.store import TrialStore


class TrialStoreDataset(StateDataset):
    """Results of trials by their hash: a folder, put to one by one as they finish."""

    def load(self) -> TrialStore:
        """Open the store; an empty or missing folder is an empty store."""
        return TrialStore(self._filepath)


class ValidationCacheDataset(StateDataset):
    """Earlier validation results of calibration sets.

    Args:
        filepath: JSON file, made when missing.
        docs_path: folder for the GX Data Docs; none are built when left out.
        metadata: for Kedro plugins, not read.
    """

    def __init__(self, filepath: str, docs_path: str | None = None, metadata: Any = None) -> None:
        super().__init__(filepath, metadata)
        self._docs_path = None if docs_path is None else local_path(docs_path, "docs_path")

    def load(self) -> ValidationCache:
        """Open the cache."""
        return ValidationCache(self._filepath, self._docs_path)


class RegistryDataset(StateDataset):
    """Promoted versions, changed by a release or a rollback only, under its lock.

    Args:
        filepath: folder of the registry.
        baseline: `champion_baseline.json`, which stands in git, outside the registry.
        metadata: for Kedro plugins, not read.
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
