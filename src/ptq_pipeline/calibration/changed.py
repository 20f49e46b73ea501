"""Strategies that draw random images and change their pixels."""

from abc import abstractmethod
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ptq_pipeline.calibration.pool import Pool
from ptq_pipeline.calibration.strategy import Drawing, Strategy
from ptq_pipeline.core.errors import InputError


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
        from ptq_pipeline.stress.perturbations import check_description

        try:
            check_description(self.description())
        except InputError as error:
            raise ValueError(str(error)) from error
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
