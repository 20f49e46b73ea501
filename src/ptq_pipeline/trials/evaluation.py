"""Which images a trial is evaluated on, under every shift."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ptq_pipeline.trials.spec import evaluation_hash

CLEAN = "clean"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Samples to evaluate, and where their pixels stand.

    Attributes:
        samples: columns ``sample_id``, ``content_hash``, ``label``; one row per evaluated sample.
        arrays: per shift, uint8 images ``(M, C, H, W)``, may be memory-mapped.
        rows: per shift, ``(len(samples),)`` int64: the row of each sample in that array.
    """

    samples: pd.DataFrame
    arrays: Mapping[str, np.ndarray]
    rows: Mapping[str, np.ndarray]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the samples, their pixels before any shift and their order."""
        return evaluation_hash(self.samples["sample_id"].to_numpy(), self.samples["content_hash"])

    def only(self, keep: np.ndarray, shifts: list[str] | None = None) -> "Evaluation":
        """Return the evaluation of the samples where the boolean ``keep`` holds."""
        names = list(self.arrays) if shifts is None else shifts
        return Evaluation(
            self.samples[keep],
            {name: self.arrays[name] for name in names},
            {name: self.rows[name][keep] for name in names},
        )


def evaluated_samples(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the samples that are scored: selection and audit, ordered by sample id."""
    return samples[samples["split"].isin(["selection", "audit"])].sort_values("sample_id")


def build_evaluation(
    samples: pd.DataFrame,
    images: np.ndarray,
    stressed: Mapping[str, np.ndarray],
    shifts: list[str],
) -> Evaluation:
    """Bring clean and stressed images of the evaluated samples together.

    Args:
        samples: the samples table.
        images: uint8 ``(N, C, H, W)``, row ``sample_id`` of every sample.
        stressed: per shift other than clean, uint8 images of the evaluated samples in their order.
        shifts: names in the order of evaluation.
    """
    chosen = evaluated_samples(samples)
    clean_rows = chosen["sample_id"].to_numpy()
    positions = np.arange(len(chosen))
    return Evaluation(
        chosen,
        {name: images if name == CLEAN else stressed[name] for name in shifts},
        {name: clean_rows if name == CLEAN else positions for name in shifts},
    )
