"""How a calibration set is drawn: a strategy by its name, seeds, and the set itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import ValidationError

from ptq_pipeline.calibration.changed import Corrupted, Noisy, OutOfDistribution
from ptq_pipeline.calibration.composition import (
    ClassBalanced,
    ClassBiased,
    FewSources,
    Random,
    SegmentBiased,
)
from ptq_pipeline.calibration.coverage import Coverage, Hard, Margin
from ptq_pipeline.calibration.pool import Pool
from ptq_pipeline.calibration.sets import (
    CalibrationManifest,
    CalibrationSet,
    DeferredImages,
    array_sha256,
)
from ptq_pipeline.calibration.strategy import Strategy
from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.content import content_keys
from ptq_pipeline.stress.perturbations import joined, perturb, seeded

STRATEGIES: dict[str, type[Strategy]] = {
    strategy.name: strategy
    for strategy in (
        *(Random, ClassBalanced, ClassBiased, SegmentBiased, FewSources),
        *(Coverage, Margin, Hard, Noisy, Corrupted, OutOfDistribution),
    )
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


@dataclass(frozen=True)
class DrawPlan:
    """What the sets of one strategy have in common.

    Attributes:
        strategy: draws the images.
        size: images per set.
        seed: master seed.
        augmentation: what is done to the pixels after the strategy, see `perturb`; its seeds follow
            from the draw's. The images are those of the set without augmentation.
    """

    strategy: Strategy
    size: int
    seed: int
    augmentation: Mapping[str, Any] = field(default_factory=dict)

    def seed_of(self, draw: int) -> int:
        """Return the 53-bit seed of one draw, which fits every JSON reader and int64 column."""
        options = self.strategy.model_dump()
        spec = {"strategy": self.strategy.name, "options": options, "seed": self.seed, "draw": draw}
        return int(canonical_hash(spec)[:16], 16) >> 11


def check_size(pool: Pool, size: int) -> None:
    """Raise InputError if sets of ``size`` different images cannot be drawn from the pool."""
    if not 0 < size <= len(pool):
        raise InputError(
            f"calibration sets of {size} images cannot be drawn from a pool of {len(pool)} "
            "different images; set 'calibration.set_size' between 1 and the size of the pool"
        )


def draw_set(pool: Pool, images: np.ndarray, plan: DrawPlan, draw: int) -> CalibrationSet:
    """Draw one calibration set.

    Args:
        pool: what may be drawn.
        images: ``(N, C, H, W)`` uint8, row = sample id.
        plan: strategy, size and seed.
        draw: number of the draw, from 0.

    Raises:
        InputError: if the augmentation is unknown or the pool cannot supply the set.
    """
    check_size(pool, plan.size)
    seed = plan.seed_of(draw)
    drawing = plan.strategy.draw(pool, plan.size, np.random.default_rng(seed))
    hashes = [str(value) for value in pool.content_hashes[drawing.rows]]
    ids = pool.sample_ids[drawing.rows]
    keys = content_keys(hashes)
    changes = joined(drawing.augmentation, seeded(plan.augmentation, seed))

    def make() -> np.ndarray:
        return perturb(np.asarray(images[ids]), keys, changes)

    pixels = make()
    manifest = CalibrationManifest(
        strategy=plan.strategy.name,
        options=plan.strategy.model_dump(),
        seed=seed,
        draw=draw,
        size=plan.size,
        pool_size=len(pool),
        augmentation=dict(changes),
        sample_ids=tuple(int(value) for value in ids),
        content_hashes=tuple(hashes),
        array_sha256=array_sha256(pixels),
        shape=tuple(pixels.shape),
    )
    return CalibrationSet(manifest, DeferredImages(make, pixels.shape))
