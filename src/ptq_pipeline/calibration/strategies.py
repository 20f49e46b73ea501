"""How calibration images are drawn from the pool: strategies by name, seeds, and the set itself."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

# Importing them registers their strategies.
from ptq_pipeline.calibration import changed, composition, coverage  # noqa: F401
from ptq_pipeline.calibration.pool import Pool
from ptq_pipeline.calibration.registration import STRATEGIES, StrategyOptions
from ptq_pipeline.calibration.sets import (
    CalibrationManifest,
    CalibrationSet,
    DeferredImages,
    array_sha256,
)
from ptq_pipeline.canonical import canonical_hash
from ptq_pipeline.errors import InputError


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
    augmentation: Mapping[str, Any] | None = None,
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
        augmentation: what is done to the pixels after the strategy, see `perturb`; its seeds follow
            from the draw's. The images are those of the set without augmentation.

    Raises:
        InputError: if the strategy or augmentation is unknown or the pool cannot supply the set.
    """
    from ptq_pipeline.images.content import content_keys
    from ptq_pipeline.stress.perturbations import joined, perturb, seeded

    if strategy not in STRATEGIES:
        parse_options(strategy)
    check_size(pool, size)
    drawn_seed = derive_seed(strategy, options, seed, draw)
    generator = np.random.default_rng(drawn_seed)
    drawing = STRATEGIES[strategy].draw(pool, options, size, generator)
    hashes = [str(value) for value in pool.content_hashes[drawing.rows]]
    ids = pool.sample_ids[drawing.rows]
    keys = content_keys(hashes)
    changes = joined(drawing.augmentation, seeded(augmentation or {}, drawn_seed))

    def make() -> np.ndarray:
        return perturb(np.asarray(images[ids]), keys, changes)

    pixels = make()
    manifest = CalibrationManifest(
        strategy=strategy,
        options=options.model_dump(),
        seed=drawn_seed,
        draw=draw,
        size=size,
        pool_size=len(pool),
        augmentation=dict(changes),
        sample_ids=tuple(int(value) for value in ids),
        content_hashes=tuple(hashes),
        array_sha256=array_sha256(pixels),
        shape=tuple(pixels.shape),
    )
    return CalibrationSet(manifest, DeferredImages(make, pixels.shape))
