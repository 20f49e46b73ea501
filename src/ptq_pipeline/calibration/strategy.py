"""What a strategy draws from, and what it is: a typed configuration that draws."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions

CLUSTER = "cluster"
COMPONENTS = "component_"


class TooFewImages(InputError):
    """The pool cannot supply a set of this strategy."""


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
        definitions: GroupDefinitions,
        profiles: pd.DataFrame | None = None,
    ) -> "Pool":
        """Take the pool out of the ``samples`` table.

        Args:
            samples: ``sample_id``, ``content_hash``, ``split``, ``label``, segment columns and
                optionally ``cluster``.
            definitions: classes and segments.
            profiles: the ``profiles`` table; strategies that look at features need it.
        """
        rows = samples[samples["split"] == "pool"].sort_values("sample_id")
        rows = rows.drop_duplicates("content_hash")
        ids = rows["sample_id"].to_numpy(np.int64)
        return cls(
            ids,
            rows["content_hash"].to_numpy(object),
            rows["label"].to_numpy(np.int64),
            {name: rows[name].to_numpy(object) for name in definitions.segments},
            definitions.classes,
            {} if profiles is None else _features(profiles, ids),
            rows[CLUSTER].to_numpy(object) if CLUSTER in rows else None,
        )

    def feature(self, name: str, strategy: str) -> np.ndarray:
        """Return one numeric profile column; raises InputError where the pool does not have it."""
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


@dataclass(frozen=True)
class Drawing:
    """What was drawn: rows of the pool, in order, and what to do to their pixels."""

    rows: np.ndarray
    augmentation: Mapping[str, Any] = field(default_factory=dict)


class Strategy(BaseModel, ABC):
    """How calibration images are drawn from the pool; the fields are its options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]

    @abstractmethod
    def draw(self, pool: Pool, size: int, generator: np.random.Generator) -> Drawing:
        """Draw ``size`` rows of the pool; all randomness comes from the generator.

        Raises:
            InputError: the pool cannot supply the set.
        """


class Biased(Strategy):
    """Base of strategies that favour some images.

    Attributes:
        strength: share of the set that is drawn from the favoured images only, the rest being drawn
            from everything: 0 is a random set, 1 holds nothing but favoured images.
    """

    strength: float = Field(default=0.7, ge=0, le=1)

    def mixed(
        self, pool: Pool, favoured: np.ndarray, what: str, size: int, generator: np.random.Generator
    ) -> Drawing:
        """Return a drawing with a share ``strength`` of favoured rows; ``what`` names them."""
        chosen = take(favoured, round(self.strength * size), what, generator)
        others = np.setdiff1d(np.arange(len(pool)), chosen)
        rest = generator.permutation(others)[: size - len(chosen)]
        return Drawing(generator.permutation(np.concatenate([chosen, rest])))


def take(
    candidates: np.ndarray, count: int, what: str, generator: np.random.Generator
) -> np.ndarray:
    """Draw ``count`` of the candidates.

    Raises:
        InputError: there are fewer; ``what`` says of what.
    """
    if len(candidates) < count:
        raise TooFewImages(
            f"the pool holds {len(candidates)} image(s) of {what}, the calibration set needs "
            f"{count}; enlarge the pool, lower 'calibration.set_size', or leave the strategy out"
        )
    return generator.permutation(candidates)[:count]
