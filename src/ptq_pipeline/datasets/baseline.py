"""What serves today, as a dataset: read by the check, rewritten by a release only."""

import json
from typing import Any

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.inputs import local_path
from ptq_pipeline.datasets.local import StateDataset
from ptq_pipeline.judgement.champion import WAY_OUT, Baseline
from ptq_pipeline.registry import Registry


class BaselineDataset(StateDataset):
    """The file ``champion_baseline.json``, which stands in git: what serves today.

    A project that has released nothing needs no such file. Where the registry is on this machine,
    the file is held against it: against the champion's own baseline, and the head of the log.

    Args:
        filepath: the file.
        registry: folder of the registry; None to read the file alone.
        metadata: for Kedro plugins, not read.
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
                "`kedro ptq repair` where the registry is, and commit the file"
            )
        return found
