"""What an audit looks at: the samples, their pixels, and what is known of them."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.handed_on import HandedOn


@dataclass(frozen=True, eq=False)
class AuditData(HandedOn):
    """The results of `data_loading`, assembled once a run and handed on whole.

    `Groups` are no part of it: they follow the settings of `subgroup_scoring`, and what models
    answer does not.

    Attributes:
        samples: the samples table.
        images: uint8 ``(N, C, H, W)``, row ``sample_id`` of every sample; may be memory-mapped.
        profiles: the profiles table.
        definitions: classes and segments.
    """

    samples: pd.DataFrame
    images: np.ndarray
    profiles: pd.DataFrame = field(default_factory=pd.DataFrame)
    definitions: GroupDefinitions = GroupDefinitions(classes=(), segments={})

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``."""
        return self.images.shape[1:]

    @property
    def evaluated(self) -> pd.DataFrame:
        """The samples that are scored: selection and audit, ordered by sample id."""
        return self.of("selection", "audit")

    def of(self, *splits: str) -> pd.DataFrame:
        """Return the samples of some splits, ordered by sample id."""
        chosen = self.samples["split"].isin(splits)
        return self.samples[chosen].sort_values("sample_id")
