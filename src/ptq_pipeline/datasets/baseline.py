"""What serves today, as a dataset: read by the check, rewritten by a release only."""

import json
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from ptq_pipeline.errors import InputError
from ptq_pipeline.inputs import local_path
from ptq_pipeline.reliability.baseline import WAY_OUT, Baseline


class BaselineDataset(AbstractDataset):
    """The file ``champion_baseline.json``, which stands in git.

    A project that has released nothing needs no such file. Where one was lost, the check compares
    with nothing, and a release refuses its decision, because the registry knows what serves.

    Args:
        filepath: the file.
        metadata: for Kedro plugins, not read.
    """

    def __init__(self, filepath: str, metadata: Any = None) -> None:
        self._filepath = local_path(filepath)
        self.metadata = metadata

    def load(self) -> Baseline:
        """Return the baseline; the empty one where there is no file.

        Raises:
            InputError: if the file is damaged or of another schema version.
        """
        try:
            content = json.loads(self._filepath.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Baseline()
        except (OSError, ValueError) as error:
            raise InputError(f"'{self._filepath}' cannot be read ({error}): {WAY_OUT}") from error
        return Baseline.from_json(content, str(self._filepath))

    def save(self, data: Any) -> NoReturn:
        """Refuse: only a release or a rollback rewrites it."""
        raise DatasetError(f"'{self._filepath}' is rewritten by a release only")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
