"""The registry and its champion as datasets."""

from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from ptq_pipeline.inputs import local_path
from ptq_pipeline.registry import Registry


class RegistryDataset(AbstractDataset):
    """One of the two stateful places of the project; never a DVC out.

    Args:
        filepath: folder of the registry.
        baseline: `champion_baseline.json`, which stands in git, outside the registry.
    """

    def __init__(self, filepath: str, baseline: str, metadata: Any = None) -> None:
        self._filepath = local_path(filepath)
        self._baseline = local_path(baseline, "baseline")
        self.metadata = metadata

    def load(self) -> Registry:
        """Open the registry; a missing folder is a registry without versions."""
        return Registry(self._filepath, self._baseline)

    def save(self, data: Any) -> NoReturn:
        """Refuse: only a release or a rollback changes it, under its lock."""
        raise DatasetError("RegistryDataset is not saved as a whole")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "baseline": str(self._baseline)}


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
