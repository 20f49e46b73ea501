"""Strategies that decide which classes, segments and sources a set is made of."""

import numpy as np
from pydantic import Field

from ptq_pipeline.calibration.pool import Pool
from ptq_pipeline.calibration.registration import (
    Drawing,
    StrategyOptions,
    biased,
    register_strategy,
    take,
)
from ptq_pipeline.errors import InputError


class RandomOptions(StrategyOptions):
    """Every image of the pool is equally likely."""


class ClassBalancedOptions(StrategyOptions):
    """Every class gets the same number of images; what does not divide goes to random classes."""


class ClassBiasedOptions(StrategyOptions):
    """A few classes, chosen anew in each draw, fill most of the set.

    Attributes:
        strength: share of the set that is drawn from the favoured classes only, the rest being
            drawn from everything: 0 is a random set, 1 holds nothing but the favoured classes.
        classes: number of favoured classes.
    """

    strength: float = Field(default=0.7, ge=0, le=1)
    classes: int = Field(default=2, ge=1)


class SegmentBiasedOptions(StrategyOptions):
    """One value of one segment column fills most of the set.

    Attributes:
        strength: as for ``class_biased``.
        segment: the segment column; the first one that is defined when left out.
        value: the favoured value; chosen anew in each draw when left out.
    """

    strength: float = Field(default=0.7, ge=0, le=1)
    segment: str | None = None
    value: str | None = None


@register_strategy("random", RandomOptions)
def draw_random(
    pool: Pool, options: RandomOptions, size: int, generator: np.random.Generator
) -> Drawing:
    """Draw without replacement; a smaller set of the same draw is the beginning of a larger one."""
    return Drawing(generator.permutation(len(pool))[:size])


@register_strategy("class_balanced", ClassBalancedOptions)
def draw_class_balanced(
    pool: Pool, options: ClassBalancedOptions, size: int, generator: np.random.Generator
) -> Drawing:
    """Draw the same number of images of every class."""
    counts = np.full(len(pool.classes), size // len(pool.classes))
    counts[generator.permutation(len(counts))[: size % len(counts)]] += 1
    parts = [
        take(np.flatnonzero(pool.labels == label), count, f"class '{name}'", generator)
        for label, (name, count) in enumerate(zip(pool.classes, counts, strict=True))
    ]
    return Drawing(generator.permutation(np.concatenate(parts)))


@register_strategy("class_biased", ClassBiasedOptions)
def draw_classbiased(
    pool: Pool, options: ClassBiasedOptions, size: int, generator: np.random.Generator
) -> Drawing:
    """Draw most images from a few classes."""
    if options.classes > len(pool.classes):
        raise InputError(
            f"class_biased: {options.classes} favoured classes asked for, there are "
            f"{len(pool.classes)}; lower 'calibration.options.class_biased.classes'"
        )
    chosen = generator.permutation(len(pool.classes))[: options.classes]
    names = ", ".join(f"'{pool.classes[label]}'" for label in chosen)
    favoured = np.flatnonzero(np.isin(pool.labels, chosen))
    return biased(pool, favoured, f"class(es) {names}", options.strength, size, generator)


@register_strategy("segment_biased", SegmentBiasedOptions)
def draw_segmentbiased(
    pool: Pool, options: SegmentBiasedOptions, size: int, generator: np.random.Generator
) -> Drawing:
    """Draw most images from one value of a segment."""
    segment = options.segment or next(iter(pool.segments), None)
    if segment is None or segment not in pool.segments:
        raise InputError(
            f"segment_biased: segment '{segment}' is not defined, there are "
            f"{list(pool.segments)}; mend 'calibration.options.segment_biased.segment', or leave "
            "segment_biased out of 'calibration.comparison_strategies'"
        )
    values = np.unique(pool.segments[segment].astype(str))
    value = options.value if options.value is not None else str(generator.choice(values))
    favoured = np.flatnonzero(pool.segments[segment] == value)
    what = f"segment {segment}={value}"
    return biased(pool, favoured, what, options.strength, size, generator)


class FewSourcesOptions(StrategyOptions):
    """All images come from few sources: users, scenes, or bursts of a camera.

    Attributes:
        sources: how many; more when these do not hold enough images.
        groups: where samples have no ``cluster`` column, images that look alike to the float model
            are taken for a source: so many groups are formed by k-means.
    """

    sources: int = Field(default=2, ge=1)
    groups: int = Field(default=32, ge=2)


@register_strategy("few_sources", FewSourcesOptions)
def draw_few_sources(
    pool: Pool, options: FewSourcesOptions, size: int, generator: np.random.Generator
) -> Drawing:
    """Draw from a few sources only."""
    from ptq_pipeline.calibration.coverage import nearest_groups

    sources = pool.clusters
    if sources is None:
        space = pool.space("few_sources")
        sources = nearest_groups(space, min(options.groups, len(pool)), generator)
    chosen = np.empty(0, np.int64)
    for number, source in enumerate(generator.permutation(np.unique(sources))):
        if number >= options.sources and len(chosen) >= size:
            break
        chosen = np.concatenate([chosen, np.flatnonzero(sources == source)])
    return Drawing(generator.permutation(chosen)[:size])
