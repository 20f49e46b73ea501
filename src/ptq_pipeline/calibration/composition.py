"""Strategies that decide which classes, segments and sources a set is made of."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from ptq_pipeline.calibration.coverage import nearest_groups
from ptq_pipeline.calibration.pool import Pool
from ptq_pipeline.calibration.strategy import Biased, Drawing, Strategy, take
from ptq_pipeline.core.errors import InputError


class Random(Strategy):
    """Every image of the pool is equally likely."""

    name: ClassVar[str] = "random"

    def draw(self, pool: Pool, size: int, generator: np.random.Generator) -> Drawing:
        """Draw without replacement; a smaller set of the same draw begins a larger one."""
        return Drawing(generator.permutation(len(pool))[:size])


class ClassBalanced(Strategy):
    """Every class gets the same number of images; what does not divide goes to random classes."""

    name: ClassVar[str] = "class_balanced"

    def draw(self, pool: Pool, size: int, generator: np.random.Generator) -> Drawing:
        """Draw the same number of images of every class."""
        counts = np.full(len(pool.classes), size // len(pool.classes))
        counts[generator.permutation(len(counts))[: size % len(counts)]] += 1
        parts = [
            take(np.flatnonzero(pool.labels == label), count, f"class '{name}'", generator)
            for label, (name, count) in enumerate(zip(pool.classes, counts, strict=True))
        ]
        return Drawing(generator.permutation(np.concatenate(parts)))


class ClassBiased(Biased):
    """A few classes, chosen again in each draw, fill most of the set.

    Attributes:
        classes: number of favoured classes.
    """

    name: ClassVar[str] = "class_biased"

    classes: int = Field(default=2, ge=1)

    def draw(self, pool: Pool, size: int, generator: np.random.Generator) -> Drawing:
        """Draw most images from a few classes."""
        if self.classes > len(pool.classes):
            raise InputError(
                f"class_biased: {self.classes} favoured classes asked for, there are "
                f"{len(pool.classes)}; lower 'calibration.options.class_biased.classes'"
            )
        chosen = generator.permutation(len(pool.classes))[: self.classes]
        names = ", ".join(f"'{pool.classes[label]}'" for label in chosen)
        favoured = np.flatnonzero(np.isin(pool.labels, chosen))
        return self.mixed(pool, favoured, f"class(es) {names}", size, generator)


class SegmentBiased(Biased):
    """One value of one segment column fills most of the set.

    Attributes:
        segment: the segment column; the first one that is defined when left out.
        value: the favoured value; chosen again in each draw when left out.
    """

    name: ClassVar[str] = "segment_biased"

    segment: str | None = None
    value: str | None = None

    def draw(self, pool: Pool, size: int, generator: np.random.Generator) -> Drawing:
        """Draw most images from one value of a segment."""
        segment = self.segment or next(iter(pool.segments), None)
        if segment is None or segment not in pool.segments:
            raise InputError(
                f"segment_biased: segment '{segment}' is not defined, there are "
                f"{list(pool.segments)}; correct 'calibration.options.segment_biased.segment', or "
                "leave segment_biased out of 'calibration.comparison_strategies'"
            )
        values = np.unique(pool.segments[segment].astype(str))
        value = self.value if self.value is not None else str(generator.choice(values))
        favoured = np.flatnonzero(pool.segments[segment] == value)
        return self.mixed(pool, favoured, f"segment {segment}={value}", size, generator)


class FewSources(Strategy):
    """All images come from few sources: users, scenes, or bursts of a camera.

    Attributes:
        sources: how many; more when these do not hold enough images.
        groups: where samples have no ``cluster`` column, images that look alike to the float model
            are taken for a source: so many groups are formed by k-means.
    """

    name: ClassVar[str] = "few_sources"

    sources: int = Field(default=2, ge=1)
    groups: int = Field(default=32, ge=2)

    def draw(self, pool: Pool, size: int, generator: np.random.Generator) -> Drawing:
        """Draw from a few sources only."""
        sources = pool.clusters
        if sources is None:
            groups = min(self.groups, len(pool))
            sources = nearest_groups(pool.space(self.name), groups, generator)
        chosen = np.empty(0, np.int64)
        for number, source in enumerate(generator.permutation(np.unique(sources))):
            if number >= self.sources and len(chosen) >= size:
                break
            chosen = np.concatenate([chosen, np.flatnonzero(sources == source)])
        return Drawing(generator.permutation(chosen)[:size])
