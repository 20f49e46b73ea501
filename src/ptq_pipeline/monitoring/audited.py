"""What production is compared with: the images, the model and the groups of the audit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from ptq_pipeline.models import FloatModel
from ptq_pipeline.monitoring.windows import Acceptance, AcceptanceRules, Arrival, accept, as_audited
from ptq_pipeline.profiling.features import Projection


class HandedOn:
    """What nodes hand on as it is: nobody changes it, and its images may be larger than memory."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Kedro's datasets in memory copy whatever they hold.
        return self


@dataclass(frozen=True, eq=False)
class Audited(HandedOn):
    """The audit, as far as production is held against it.

    Attributes:
        samples: the samples.
        images: uint8 ``(N, C, H, W)``, row ``sample_id`` of every sample.
        profiles: their profiles.
        model: the float model.
        projection: of its features, fitted on the reference.
        definitions: classes, and segments with their thresholds.
    """

    samples: pd.DataFrame
    images: np.ndarray
    profiles: pd.DataFrame
    model: FloatModel
    projection: Projection
    definitions: Mapping[str, Any]

    def accept(
        self, arrival: Arrival, earlier: Mapping[str, str], rules: AcceptanceRules
    ) -> Acceptance:
        """Check a window against the audit; see `ptq_pipeline.monitoring.windows.accept`."""
        return accept(
            arrival,
            self.images.shape[1:],  # type: ignore[arg-type]
            lambda table: as_audited(table, self.model.classes, self.definitions),
            set(self.samples["content_hash"]),
            earlier,
            rules,
        )

    def reference(self) -> tuple[pd.DataFrame, np.ndarray]:
        """Return profiles and images of the split ``reference``, row by row."""
        rows = self.profiles["split"] == "reference"
        ids = self.profiles.loc[rows, "sample_id"].to_numpy()
        return self.profiles[rows].reset_index(drop=True), self.images[ids]


@dataclass(frozen=True, eq=False)
class ProductionAudit(HandedOn):
    """The production images that a champion is judged on.

    Attributes:
        samples: their samples.
        images: uint8 ``(N, C, H, W)`` under each shift, row by row those of ``samples``.
    """

    samples: pd.DataFrame
    images: Mapping[str, np.ndarray]
