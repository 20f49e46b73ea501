"""Noise of the sensor and of the transmission.

Kinds and strengths in the manner of ImageNet-C and CIFAR-10-C (Hendrycks and Dietterich,
"Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.stress.base import Corruption, Strengths, check_one_strength, each_image


@dataclass(frozen=True)
class GaussianNoise:
    """Additive Gaussian noise, rounded and clipped to bytes.

    Attributes:
        sigma: standard deviation on the scale [0, 1].
        seed: seed of the shift.
        severity: 1 to 5, instead of ``sigma``.
    """

    strengths: ClassVar = Strengths((0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38))
    sigma: float | None = None
    seed: int = 0
    severity: int | None = None

    def __post_init__(self) -> None:
        check_one_strength("gaussian_noise", "sigma", self.sigma, self.severity)
        if self.sigma is not None and not 0 < self.sigma <= 1:
            raise InputError(f"gaussian_noise: sigma must be in (0, 1], got {self.sigma}")

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return noisy images."""
        sigma = self.sigma
        if sigma is None:
            sigma = self.strengths.at(int(self.severity or 1), images)
        scale = np.float32(255 * sigma)

        def change(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
            return image + scale * generator.standard_normal(image.shape, dtype=np.float32)

        return each_image(images, keys, self.seed, change)


@dataclass(frozen=True)
class ShotNoise(Corruption):
    """Poisson noise of a sensor that counts few photons; dark pixels stay dark.

    Attributes:
        severity: 1 to 5; the strengths are the photons of a white pixel.
        seed: seed of the shift.
    """

    kind: ClassVar = "shot_noise"
    strengths: ClassVar = Strengths((500, 250, 100, 75, 50), (60, 25, 12, 5, 3))
    seed: int = 0

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return noisy images."""
        photons = self.strength(images)

        def change(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
            return generator.poisson(image * (photons / 255)) * (255 / photons)

        return each_image(images, keys, self.seed, change)


@dataclass(frozen=True)
class ImpulseNoise(Corruption):
    """Salt and pepper: single values become 0 or 255.

    Attributes:
        severity: 1 to 5; the strengths are the share of values that are lost.
        seed: seed of the shift.
    """

    kind: ClassVar = "impulse_noise"
    strengths: ClassVar = Strengths((0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27))
    seed: int = 0

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return noisy images."""
        share = self.strength(images)

        def change(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
            chance = generator.random(image.shape, dtype=np.float32)
            salted = np.where(chance < share / 2, np.float32(255), image)
            return np.where(chance > 1 - share / 2, np.float32(0), salted)

        return each_image(images, keys, self.seed, change)
