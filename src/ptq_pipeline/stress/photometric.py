"""Light: brighter, and flatter (Hendrycks and Dietterich, ICLR 2019)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ptq_pipeline.stress.base import Corruption, Strengths, in_parts


@dataclass(frozen=True)
class Brightness(Corruption):
    """More light: the brightest channel of every pixel grows by a constant, its colour stays.

    Attributes:
        severity: 1 to 5; the constant on the scale [0, 1].
    """

    kind: ClassVar = "brightness"
    strengths: ClassVar = Strengths((0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5))

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return brighter images."""
        added = np.float32(255 * self.strength(images))
        return in_parts(images, lambda part: brighten(part, added))


@dataclass(frozen=True)
class Contrast(Corruption):
    """Less contrast: every channel is drawn towards its mean over the image.

    Attributes:
        severity: 1 to 5; the share of the contrast that is left.
    """

    kind: ClassVar = "contrast"
    strengths: ClassVar = Strengths((0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05))

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return flatter images."""
        left = np.float32(self.strength(images))

        def change(part: np.ndarray) -> np.ndarray:
            mean = part.mean((2, 3), keepdims=True)
            return (part - mean) * left + mean

        return in_parts(images, change)


def brighten(images: np.ndarray, added: np.ndarray | np.float32) -> np.ndarray:
    """Add to the value (in the sense of hue, saturation, value) of float32 ``(N, C, H, W)``."""
    value = images.max(1, keepdims=True)
    wanted = np.clip(value + added, 0, 255)
    scaled = images * (wanted / np.maximum(value, 1))
    return np.where(value > 0, scaled, wanted)
