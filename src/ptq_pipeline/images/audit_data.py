"""What an audit looks at: the samples, their pixels, and the pixels under every shift."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class AuditData:
    """Samples and pixels.

    Attributes:
        samples: the samples table.
        images: uint8 ``(N, C, H, W)``, row ``sample_id`` of every sample; may be memory-mapped.
        stressed: per shift other than clean, uint8 images of `evaluated` in their order.
    """

    samples: pd.DataFrame
    images: np.ndarray
    stressed: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``."""
        return self.images.shape[1:]

    @property
    def evaluated(self) -> pd.DataFrame:
        """The samples that are scored: selection and audit, ordered by sample id."""
        chosen = self.samples["split"].isin(["selection", "audit"])
        return self.samples[chosen].sort_values("sample_id")

    def rows(self, split: str) -> np.ndarray:
        """Return the rows of `images` of one split, in rising order."""
        chosen = self.samples["split"] == split
        return self.samples.loc[chosen, "sample_id"].sort_values().to_numpy()
