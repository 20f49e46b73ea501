"""How calibration images are drawn from the pool: one typed configuration and one handler each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ptq_pipeline.calibration.sets import (
    CalibrationManifest,
    CalibrationSet,
    DeferredImages,
    array_sha256,
)
from ptq_pipeline.canonical import canonical_hash
from ptq_pipeline.errors import InputError


@dataclass(frozen=True, eq=False)
class Pool:
    """The different images that may be drawn; a repeated image counts once.

    Attributes:
        sample_ids: ``(P,)`` int64, increasing.
        content_hashes: ``(P,)`` str.
        labels: ``(P,)`` int64.
        segments: segment column to ``(P,)`` str.
        classes: class names in the order of the labels.
    """

    sample_ids: np.ndarray
    content_hashes: np.ndarray
    labels: np.ndarray
    segments: Mapping[str, np.ndarray]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of different images."""
        return len(self.sample_ids)

    @classmethod
    def from_samples(
        cls, samples: pd.DataFrame, definitions: Mapping[str, Any], split: str = "pool"
    ) -> "Pool":
        """Take the rows of ``split`` out of the ``samples`` table.

        Args:
            samples: ``sample_id``, ``content_hash``, ``split``, ``label`` and segment columns.
            definitions: ``{"classes": [...], "segments": {column: ...}}``.
            split: the split to draw from.
        """
        rows = samples[samples["split"] == split].sort_values("sample_id")
        rows = rows.drop_duplicates("content_hash")
        return cls(
            rows["sample_id"].to_numpy(np.int64),
            rows["content_hash"].to_numpy(object),
            rows["label"].to_numpy(np.int64),
            {name: rows[name].to_numpy(object) for name in definitions["segments"]},
            tuple(definitions["classes"]),
        )


class StrategyOptions(BaseModel):
    """Base of the strategies' configurations."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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


class NoisyOptions(StrategyOptions):
    """Random images with Gaussian noise on every pixel.

    Attributes:
        sigma: standard deviation on the scale [0, 1].
    """

    sigma: float = Field(default=0.1, gt=0, le=1)


@dataclass(frozen=True)
class Drawing:
    """What a handler returns: rows of the pool, in order, and what to do to their pixels."""

    rows: np.ndarray
    augmentation: Mapping[str, Any] = field(default_factory=dict)


Options = TypeVar("Options", bound=StrategyOptions)
Handler = Callable[[Pool, Options, int, np.random.Generator], Drawing]


@dataclass(frozen=True)
class Strategy:
    """A registered strategy."""

    options: type[StrategyOptions]
    draw: Callable[[Pool, Any, int, np.random.Generator], Drawing]


STRATEGIES: dict[str, Strategy] = {}


def register_strategy(
    name: str, options: type[Options]
) -> Callable[[Handler[Options]], Handler[Options]]:
    """Register a handler ``(pool, options, size, generator) -> Drawing`` under ``name``."""

    def register(handler: Handler[Options]) -> Handler[Options]:
        STRATEGIES[name] = Strategy(options, handler)
        return handler

    return register


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
        _take(np.flatnonzero(pool.labels == label), count, f"class '{name}'", generator)
        for label, (name, count) in enumerate(zip(pool.classes, counts, strict=True))
    ]
    return Drawing(generator.permutation(np.concatenate(parts)))


@register_strategy("class_biased", ClassBiasedOptions)
def draw_class_biased(
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
    return _biased(pool, favoured, f"class(es) {names}", options.strength, size, generator)


@register_strategy("segment_biased", SegmentBiasedOptions)
def draw_segment_biased(
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
    return _biased(pool, favoured, what, options.strength, size, generator)


@register_strategy("noisy", NoisyOptions)
def draw_noisy(
    pool: Pool, options: NoisyOptions, size: int, generator: np.random.Generator
) -> Drawing:
    """Draw random images, to be covered with noise."""
    rows = generator.permutation(len(pool))[:size]
    seed = int(generator.integers(2**53))
    return Drawing(rows, {"kind": "gaussian_noise", "sigma": options.sigma, "seed": seed})


def _biased(
    pool: Pool,
    favoured: np.ndarray,
    what: str,
    strength: float,
    size: int,
    generator: np.random.Generator,
) -> Drawing:
    biased = _take(favoured, round(strength * size), what, generator)
    others = np.setdiff1d(np.arange(len(pool)), biased)
    rest = generator.permutation(others)[: size - len(biased)]
    return Drawing(generator.permutation(np.concatenate([biased, rest])))


def _take(
    candidates: np.ndarray, count: int, what: str, generator: np.random.Generator
) -> np.ndarray:
    if len(candidates) < count:
        raise InputError(
            f"the pool holds {len(candidates)} image(s) of {what}, the calibration set needs "
            f"{count}; enlarge the pool, lower 'calibration.set_size', or leave the strategy out"
        )
    return generator.permutation(candidates)[:count]


def parse_options(strategy: str, options: Mapping[str, Any] | None = None) -> StrategyOptions:
    """Return the typed options of a strategy.

    Raises:
        InputError: if the strategy or an option is unknown, or a value is out of range.
    """
    if strategy not in STRATEGIES:
        raise InputError(
            f"calibration strategy '{strategy}' is unknown; choose one of {list(STRATEGIES)}"
        )
    try:
        return STRATEGIES[strategy].options.model_validate(dict(options or {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"option '{where}' of calibration strategy '{strategy}': {first['msg']}"
        ) from error


def derive_seed(strategy: str, options: StrategyOptions, seed: int, draw: int) -> int:
    """Return the 53-bit seed of one draw, which fits every JSON reader and every int64 column."""
    spec = {"strategy": strategy, "options": options.model_dump(), "seed": seed, "draw": draw}
    return int(canonical_hash(spec)[:16], 16) >> 11


def check_size(pool: Pool, size: int) -> None:
    """Raise InputError if sets of ``size`` different images cannot be drawn from the pool."""
    if not 0 < size <= len(pool):
        raise InputError(
            f"calibration sets of {size} images cannot be drawn from a pool of {len(pool)} "
            "different images; set 'calibration.set_size' between 1 and the size of the pool"
        )


def draw_set(
    pool: Pool,
    images: np.ndarray,
    strategy: str,
    options: StrategyOptions,
    *,
    size: int,
    seed: int,
    draw: int,
) -> CalibrationSet:
    """Draw one calibration set.

    Args:
        pool: what may be drawn.
        images: ``(N, C, H, W)`` uint8, row = sample id.
        strategy: name of a registered strategy.
        options: its options.
        size: number of images.
        seed: master seed.
        draw: number of the draw, from 0.

    Raises:
        InputError: if the strategy is unknown or the pool cannot supply the set.
    """
    from ptq_pipeline.images.content import content_keys
    from ptq_pipeline.stress.perturbations import perturb

    if strategy not in STRATEGIES:
        parse_options(strategy)
    check_size(pool, size)
    drawn_seed = derive_seed(strategy, options, seed, draw)
    generator = np.random.default_rng(drawn_seed)
    drawing = STRATEGIES[strategy].draw(pool, options, size, generator)
    hashes = [str(value) for value in pool.content_hashes[drawing.rows]]
    ids = pool.sample_ids[drawing.rows]
    keys = content_keys(hashes)

    def make() -> np.ndarray:
        return perturb(np.asarray(images[ids]), keys, drawing.augmentation)

    pixels = make()
    manifest = CalibrationManifest(
        strategy=strategy,
        options=options.model_dump(),
        seed=drawn_seed,
        draw=draw,
        size=size,
        pool_size=len(pool),
        augmentation=dict(drawing.augmentation),
        sample_ids=tuple(int(value) for value in ids),
        content_hashes=tuple(hashes),
        array_sha256=array_sha256(pixels),
        shape=tuple(pixels.shape),
    )
    return CalibrationSet(manifest, DeferredImages(make, pixels.shape))
