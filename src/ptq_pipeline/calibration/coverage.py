"""Strategies that look at what the float model makes of the pool's images."""

from typing import Literal

import numpy as np
from pydantic import Field

from ptq_pipeline.calibration.pool import Pool
from ptq_pipeline.calibration.registration import (
    Drawing,
    StrategyOptions,
    biased,
    register_strategy,
)

KMEANS_STEPS = 20


class CoverageOptions(StrategyOptions):
    """The set covers the space of the float model's features.

    Attributes:
        method: ``k_center`` takes the image farthest from all taken ones, again and again
            (Gonzalez, 1985; as in the core sets of Sener and Savarese, ICLR 2018), and so reaches
            for outliers; ``clusters`` takes the image nearest to each of as many k-means centres.
        subpool: each draw looks at a random share of the pool; otherwise all draws would be one.
    """

    method: Literal["k_center", "clusters"] = "k_center"
    subpool: float = Field(default=0.5, gt=0, lt=1)


class MarginOptions(StrategyOptions):
    """Most images lie near the float model's decision boundary.

    Attributes:
        strength: share of the set that comes from them, the rest being drawn from everything.
        share: the share of the pool with the smallest margin that counts as near; more when
            ``strength`` asks for more.
    """

    strength: float = Field(default=0.7, ge=0, le=1)
    share: float = Field(default=0.25, gt=0, le=1)


class HardOptions(StrategyOptions):
    """Most images are hard: the float model is wrong, or right with little confidence.

    Attributes:
        strength: as for ``margin``.
        share: the share of the pool that counts as hard; more when ``strength`` asks for more.
    """

    strength: float = Field(default=0.7, ge=0, le=1)
    share: float = Field(default=0.1, gt=0, le=1)


@register_strategy("coverage", CoverageOptions)
def draw_coverage(
    pool: Pool, options: CoverageOptions, size: int, generator: np.random.Generator
) -> Drawing:
    """Cover the feature space of a random part of the pool."""
    seen = max(size, round(options.subpool * len(pool)))
    part = generator.permutation(len(pool))[:seen]
    space = pool.space("coverage")[part]
    chosen = k_center(space, size)
    if options.method == "clusters":
        groups, centres = _kmeans(space, space[chosen])
        chosen = _representatives(space, groups, centres)
        rest = np.setdiff1d(np.arange(seen), chosen)
        chosen = np.concatenate([chosen, generator.permutation(rest)[: size - len(chosen)]])
    return Drawing(part[generator.permutation(chosen)])


@register_strategy("margin", MarginOptions)
def draw_margin(
    pool: Pool, options: MarginOptions, size: int, generator: np.random.Generator
) -> Drawing:
    """Draw most images from those with the smallest margin."""
    order = np.lexsort((pool.sample_ids, pool.feature("margin", "margin")))
    near = order[: max(round(options.share * len(pool)), round(options.strength * size))]
    return biased(pool, near, "small margin", options.strength, size, generator)


@register_strategy("hard", HardOptions)
def draw_hard(
    pool: Pool, options: HardOptions, size: int, generator: np.random.Generator
) -> Drawing:
    """Draw most images from the hard ones."""
    order = pool.hard_order("hard")
    hard = order[: max(round(options.share * len(pool)), round(options.strength * size))]
    return biased(pool, hard, "the hard kind", options.strength, size, generator)


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
