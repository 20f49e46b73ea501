"""Strategies that look at what the float model makes of the pool's images."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ptq_pipeline.calibration.pool import Pool
from ptq_pipeline.calibration.strategy import Biased, Drawing, Strategy

KMEANS_STEPS = 20


class Coverage(Strategy):
    """The set covers the space of the float model's features.

    Attributes:
        method: ``k_center`` takes the image farthest from all taken ones, again and again
            (Gonzalez, 1985; as in the core sets of Sener and Savarese, ICLR 2018), and so reaches
            for outliers; ``clusters`` takes the image nearest to each of as many k-means centres.
        subpool: each draw looks at a random share of the pool; otherwise all draws would be one.
    """

    name: ClassVar[str] = "coverage"

    method: Literal["k_center", "clusters"] = "k_center"
    subpool: float = Field(default=0.5, gt=0, lt=1)

    def draw(self, pool: Pool, size: int, generator: np.random.Generator) -> Drawing:
        """Cover the feature space of a random part of the pool."""
        seen = max(size, round(self.subpool * len(pool)))
        part = generator.permutation(len(pool))[:seen]
        space = pool.space(self.name)[part]
        chosen = k_center(space, size)
        if self.method == "clusters":
            groups, centres = _kmeans(space, space[chosen])
            chosen = _representatives(space, groups, centres)
            rest = np.setdiff1d(np.arange(seen), chosen)
            chosen = np.concatenate([chosen, generator.permutation(rest)[: size - len(chosen)]])
        return Drawing(part[generator.permutation(chosen)])


class Margin(Biased):
    """Most images lie near the float model's decision boundary.

    Attributes:
        share: the share of the pool with the smallest margin that counts as near; more when
            ``strength`` asks for more.
    """

    name: ClassVar[str] = "margin"

    share: float = Field(default=0.25, gt=0, le=1)

    def draw(self, pool: Pool, size: int, generator: np.random.Generator) -> Drawing:
        """Draw most images from those with the smallest margin."""
        order = np.lexsort((pool.sample_ids, pool.feature("margin", self.name)))
        near = order[: max(round(self.share * len(pool)), round(self.strength * size))]
        return self.mixed(pool, near, "small margin", size, generator)


class Hard(Biased):
    """Most images are hard: the float model is wrong, or right with little confidence.

    Attributes:
        share: the share of the pool that counts as hard; more when ``strength`` asks for more.
    """

    name: ClassVar[str] = "hard"

    share: float = Field(default=0.1, gt=0, le=1)

    def draw(self, pool: Pool, size: int, generator: np.random.Generator) -> Drawing:
        """Draw most images from the hard ones."""
        order = pool.hard_order(self.name)
        hard = order[: max(round(self.share * len(pool)), round(self.strength * size))]
        return self.mixed(pool, hard, "the hard kind", size, generator)


def k_center(space: np.ndarray, count: int) -> np.ndarray:
    """Return ``count`` rows of ``(P, d)``: the first, then always the farthest from those taken.

    No set of as many rows has less than half the largest distance of any row to its nearest one
    (Gonzalez, 1985).
    """
    chosen = np.zeros(count, np.int64)
    nearest = np.full(len(space), np.inf)
    nearest[0] = -1
    for number in range(1, count):
        distance = ((space - space[chosen[number - 1]]) ** 2).sum(1)
        nearest = np.minimum(nearest, distance)
        chosen[number] = nearest.argmax()
        # Equal points have distance 0 and may still be taken; a point already taken may not.
        nearest[chosen[number]] = -1
    return chosen


def nearest_groups(space: np.ndarray, groups: int, generator: np.random.Generator) -> np.ndarray:
    """Return the k-means group of every row, ``(P,)``, from random starting rows."""
    start = generator.permutation(len(space))[:groups]
    return _kmeans(space, space[start])[0]


def _kmeans(space: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.cluster.vq import kmeans2

    centres, groups = kmeans2(space, centres, iter=KMEANS_STEPS, minit="matrix", missing="warn")
    return groups, centres


def _representatives(space: np.ndarray, groups: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the row nearest to the centre of each group that is not empty."""
    distance = ((space - centres[groups]) ** 2).sum(1)
    order = np.lexsort((distance, groups))
    _, first = np.unique(groups[order], return_index=True)
    return order[first]
