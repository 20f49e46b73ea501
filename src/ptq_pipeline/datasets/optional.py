"""What a report shows when it is there and can do without: figures of one machine, the log."""

from typing import Any, NoReturn

from kedro.io import DatasetError

from ptq_pipeline.datasets.registry import RegistryDataset
from ptq_pipeline.datasets.whole import JSONDataset


class OptionalJSONDataset(JSONDataset):
    """A JSON file that may be missing: then it loads as an empty mapping."""

    def load(self) -> Any:
        """Return the content, or an empty mapping where there is no file."""
        return super().load() if super()._exists() else {}

    def _exists(self) -> bool:
        return True


class DecisionLogDataset(RegistryDataset):
    """The records of the registry, oldest first, as plain JSON values; load only."""

    def load(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Return all records after checking their chain; none before the first promotion.

        Raises:
            VerificationError: naming the record that is missing, damaged or edited.
        """
        return [record.to_json() for record in super().load().records(needed=False)]

    def save(self, data: Any) -> NoReturn:
        """Refuse: records are written by a release, a rollback or a waiver."""
        raise DatasetError("DecisionLogDataset is read only")
