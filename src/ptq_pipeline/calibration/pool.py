"""The images that calibration sets are drawn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError

CLUSTER = "cluster"
COMPONENTS = "component_"


@dataclass(frozen=True, eq=False)
class Pool:
    """The different images that may be drawn; a repeated image counts once.

    Attributes:
        sample_ids: ``(P,)`` int64, increasing.
        content_hashes: ``(P,)`` str.
        labels: ``(P,)`` int64.
        segments: segment column to ``(P,)`` str.
        classes: class names in the order of the labels.
        features: numeric profile column to ``(P,)`` float64; empty without profiles.
        clusters: ``(P,)`` str, the source (user, scene, burst) of each image; None when unknown.
    """

    sample_ids: np.ndarray
    content_hashes: np.ndarray
    labels: np.ndarray
    segments: Mapping[str, np.ndarray]
    classes: tuple[str, ...]
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    clusters: np.ndarray | None = None

    def __len__(self) -> int:
        """Return the number of different images."""
        return len(self.sample_ids)

    @classmethod
    def from_samples(
        cls,
        samples: pd.DataFrame,
        definitions: Mapping[str, Any],
        profiles: pd.DataFrame | None = None,
    ) -> "Pool":
        """Take the pool out of the ``samples`` table.

        Args:
            samples: ``sample_id``, ``content_hash``, ``split``, ``label``, segment columns and
                optionally ``cluster``.
            definitions: ``{"classes": [...], "segments": {column: ...}}``.
            profiles: the ``profiles`` table; strategies that look at features need it.
        """
        rows = samples[samples["split"] == "pool"].sort_values("sample_id")
        rows = rows.drop_duplicates("content_hash")
        ids = rows["sample_id"].to_numpy(np.int64)
        return cls(
            ids,
            rows["content_hash"].to_numpy(object),
            rows["label"].to_numpy(np.int64),
            {name: rows[name].to_numpy(object) for name in definitions["segments"]},
            tuple(definitions["classes"]),
            {} if profiles is None else _features(profiles, ids),
            rows[CLUSTER].to_numpy(object) if CLUSTER in rows else None,
        )

    def feature(self, name: str, strategy: str) -> np.ndarray:
        """Return one numeric profile column.

        Args:
            name: of the column.
            strategy: who asks, for the error.

        Raises:
            InputError: the pool has no such column.
        """
        if name not in self.features:
            raise InputError(
                f"{strategy}: the pool has no profile column '{name}'; it needs the profiles of "
                "the float model (pipeline 'data_loading')"
            )
        return self.features[name]

    def space(self, strategy: str) -> np.ndarray:
        """Return ``(P, d)`` float64: the components of the penultimate features, as they are.

        They are not rescaled one by one: the leading components matter most, and a distance between
        two images is nearly that of their features.
        """
        names = sorted(name for name in self.features if name.startswith(COMPONENTS))
        if not names:
            self.feature(COMPONENTS + "1", strategy)
        return np.stack([self.features[name] for name in names], 1)

    def hard_order(self, strategy: str) -> np.ndarray:
        """Return rows, the hardest first: wrong answers by confidence, then right ones the least.

        An answer that is wrong and confident is harder than one that is wrong and hesitant.
        """
        confidence = self.feature("confidence", strategy)
        right = self.feature("predicted", strategy) == self.labels
        return np.lexsort((self.sample_ids, np.where(right, confidence, -confidence), right))


def _features(profiles: pd.DataFrame, ids: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
    rows = profiles.set_index("sample_id").loc[ids]
    numeric = rows.select_dtypes("number").drop(columns="label", errors="ignore")
    return {name: numeric[name].to_numpy(np.float64) for name in numeric}
