"""The registry, and what others read of it."""

import json
from pathlib import Path
from typing import Any

from kedro.io import DatasetError

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.inputs import local_path
from ptq_pipeline.datasets.local import StateDataset
from ptq_pipeline.judgement.baseline import WAY_OUT, Baseline
from ptq_pipeline.registry.agreement import Registry


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
        found = Baseline.read(content, str(self._filepath))
        if found.serves and not found.sealed:
            raise InputError(
                f"'{self._filepath}' was written by an earlier release and carries no hash: run "
                "`kedro ptq recover` where the registry is, and commit the file"
            )
        return found
