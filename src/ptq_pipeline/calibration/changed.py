"""Strategies that draw random images and change their pixels."""

from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ptq_pipeline.calibration.pool import Pool
from ptq_pipeline.calibration.registration import Drawing, StrategyOptions, register_strategy
from ptq_pipeline.errors import InputError


class NoisyOptions(StrategyOptions):
    """Random images with Gaussian noise on every pixel.

    Attributes:
        sigma: standard deviation on the scale [0, 1].
    """

    sigma: float = Field(default=0.1, gt=0, le=1)


class CorruptedOptions(StrategyOptions):
    """Random images under a corruption: another kind of noise, blur, light, compression.

    Attributes:
        kind: any kind of shift (docs/stress.md).
        severity: 1 to 5.
        share: chance of an image to be corrupted.
    """

    kind: str = "shot_noise"
    severity: int = Field(default=3, ge=1, le=5)
    share: float = Field(default=1.0, gt=0, le=1)

    def description(self) -> dict[str, Any]:
        """Return what `perturb` is told, without a seed."""
        return {"kind": self.kind, "severity": self.severity, "share": self.share}

    @model_validator(mode="after")
    def _known(self) -> Self:
        from ptq_pipeline.stress.perturbations import check_description

        try:
            check_description(self.description())
        except InputError as error:
            raise ValueError(str(error)) from error
        return self


class OutOfDistributionOptions(StrategyOptions):
    """Some of the images are such as no camera of production takes.

    Attributes:
        content: ``noise``, ``shuffled`` (an image's own pixels in random places) or ``inverted``.
        share: chance of an image to be one of them.
    """

    content: Literal["noise", "shuffled", "inverted"] = "noise"
    share: float = Field(default=1.0, gt=0, le=1)


@register_strategy("noisy", NoisyOptions)
def draw_noisy(
    pool: Pool, options: NoisyOptions, size: int, generator: np.random.Generator
) -> Drawing:
    """Draw random images, to be covered with noise."""
    rows = generator.permutation(len(pool))[:size]
    seed = int(generator.integers(2**53))
    return Drawing(rows, {"kind": "gaussian_noise", "sigma": options.sigma, "seed": seed})


@register_strategy("corrupted", CorruptedOptions)
def draw_corrupted(
    pool: Pool, options: CorruptedOptions, size: int, generator: np.random.Generator
) -> Drawing:
    """Draw random images, to be corrupted."""
    rows = generator.permutation(len(pool))[:size]
    seed = int(generator.integers(2**53))
    return Drawing(rows, {**options.description(), "seed": seed})


@register_strategy("out_of_distribution", OutOfDistributionOptions)
def draw_out_of_distribution(
    pool: Pool, options: OutOfDistributionOptions, size: int, generator: np.random.Generator
) -> Drawing:
    """Draw random images, to be replaced by foreign ones."""
    rows = generator.permutation(len(pool))[:size]
    seed = int(generator.integers(2**53))
    foreign = {"kind": "foreign", "content": options.content, "share": options.share}
    return Drawing(rows, {**foreign, "seed": seed})
