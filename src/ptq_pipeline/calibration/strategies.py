"""The strategies: by composition, by what the float model sees, and with changed pixels."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from ptq_pipeline.calibration.strategy import Biased, Drawing, Pool, Strategy, TooFewImages, take
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.stress.perturbations import check_description

KMEANS_STEPS = 20


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
        if segment is None:
            raise TooFewImages(
                "segment_biased: the samples have no segments; leave it out of "
                "'calibration.comparison_strategies'"
            )
        if segment not in pool.segments:
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
            space = pool.space(self.name)
            start = generator.permutation(len(pool))[: self.groups]
            _, sources = _kmeans(space, space[start])
        chosen = np.empty(0, np.int64)
        for number, source in enumerate(generator.permutation(np.unique(sources))):
            if number >= self.sources and len(chosen) >= size:
                break
            chosen = np.concatenate([chosen, np.flatnonzero(sources == source)])
        return Drawing(generator.permutation(chosen)[:size])


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
            chosen = _representatives(space, *_kmeans(space, space[chosen]))
            rest = np.setdiff1d(np.arange(seen), chosen)
            chosen = np.concatenate([chosen, generator.permutation(rest)[: size - len(chosen)]])
        return Drawing(part[generator.permutation(chosen)])


class First(Biased):
    """Base of strategies that favour the first images of an order.

    Attributes:
        share: of the pool that is favoured; more when ``strength`` asks for more.
    """

    share: float = Field(gt=0, le=1)

    def first(self, order: np.ndarray, size: int) -> np.ndarray:
        """Return the favoured rows, given all rows of the pool in order."""
        return order[: max(round(self.share * len(order)), round(self.strength * size))]


class Margin(First):
    """Most images lie near the float model's decision boundary: they have the smallest margin."""

    name: ClassVar[str] = "margin"

    share: float = Field(default=0.25, gt=0, le=1)

    def draw(self, pool: Pool, size: int, generator: np.random.Generator) -> Drawing:
        """Draw most images from those with the smallest margin."""
        order = np.lexsort((pool.sample_ids, pool.feature("margin", self.name)))
        return self.mixed(pool, self.first(order, size), "small margin", size, generator)


class Hard(First):
    """Most images are hard: the float model is wrong, or right with little confidence."""

    name: ClassVar[str] = "hard"

    share: float = Field(default=0.1, gt=0, le=1)

    def draw(self, pool: Pool, size: int, generator: np.random.Generator) -> Drawing:
        """Draw most images from the hard ones."""
        hard = self.first(pool.hard_order(self.name), size)
        return self.mixed(pool, hard, "the hard kind", size, generator)


class Changed(Strategy):
    """Base of strategies whose images are random and whose pixels are changed."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Return what `perturb` is told, without a seed."""

    def draw(self, pool: Pool, size: int, generator: np.random.Generator) -> Drawing:
        """Draw without replacement; the seed of the change comes from the same generator."""
        rows = generator.permutation(len(pool))[:size]
        return Drawing(rows, {**self.description(), "seed": int(generator.integers(2**53))})


class Noisy(Changed):
    """Random images with Gaussian noise on every pixel.

    Attributes:
        sigma: standard deviation on the scale [0, 1].
    """

    name: ClassVar[str] = "noisy"

    sigma: float = Field(default=0.1, gt=0, le=1)

    def description(self) -> dict[str, Any]:
        """Return what `perturb` is told, without a seed."""
        return {"kind": "gaussian_noise", "sigma": self.sigma}


class Corrupted(Changed):
    """Random images under a corruption: another kind of noise, blur, light, compression.

    Attributes:
        kind: any kind of shift (docs/stress.md).
        severity: 1 to 5.
        share: chance of an image to be corrupted.
    """

    name: ClassVar[str] = "corrupted"

    kind: str = "shot_noise"
    severity: int = Field(default=3, ge=1, le=5)
    share: float = Field(default=1.0, gt=0, le=1)

    def description(self) -> dict[str, Any]:
        """Return what `perturb` is told, without a seed."""
        return self.model_dump()

    @model_validator(mode="after")
    def _known(self) -> Self:
        check_description(self.description())
        return self


class OutOfDistribution(Changed):
    """Some of the images are such as no camera of production takes.

    Attributes:
        content: ``noise``, ``shuffled`` (an image's own pixels in random places) or ``inverted``.
        share: chance of an image to be one of them.
    """

    name: ClassVar[str] = "out_of_distribution"

    content: Literal["noise", "shuffled", "inverted"] = "noise"
    share: float = Field(default=1.0, gt=0, le=1)

    def description(self) -> dict[str, Any]:
        """Return what `perturb` is told, without a seed."""
        return {"kind": "foreign", **self.model_dump()}


KINDS = (Random, ClassBalanced, ClassBiased, SegmentBiased, FewSources, Coverage, Margin, Hard)
STRATEGIES: dict[str, type[Strategy]] = {
    kind.name: kind for kind in (*KINDS, Noisy, Corrupted, OutOfDistribution)
}


def parse_strategy(name: str, options: Mapping[str, Any] | None = None) -> Strategy:
    """Return a strategy by its name, with its options.

    Raises:
        InputError: if the strategy or an option is unknown, or a value is out of range.
    """
    if name not in STRATEGIES:
        raise InputError(
            f"calibration strategy '{name}' is unknown; choose one of {list(STRATEGIES)}"
        )
    try:
        return STRATEGIES[name].model_validate(dict(options or {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"option '{where}' of calibration strategy '{name}': {first['msg']}"
        ) from error


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


def _kmeans(space: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres and the group of every row ``(P,)``."""
    from scipy.cluster.vq import kmeans2  # takes a second

    return kmeans2(space, centres, iter=KMEANS_STEPS, minit="matrix", missing="warn")


def _representatives(space: np.ndarray, centres: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the row nearest to the centre of each group that is not empty."""
    distance = ((space - centres[groups]) ** 2).sum(1)
    order = np.lexsort((distance, groups))
    _, first = np.unique(groups[order], return_index=True)
    return order[first]
