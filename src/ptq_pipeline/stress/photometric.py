"""Light: brighter, and flatter (Hendrycks and Dietterich, ICLR 2019)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ptq_pipeline.stress.base import Strengths, check_severity, in_parts


@dataclass(frozen=True)
class Brightness:
    """More light: the brightest channel of every pixel grows by a constant, its colour stays.

    Attributes:
        severity: 1 to 5; the constant on the scale [0, 1].
    """

    strengths: ClassVar = Strengths((0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5))
    severity: int = 3

    def __post_init__(self) -> None:
        check_severity("brightness", self.severity)

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return brighter images."""
        added = np.float32(255 * self.strengths.at(self.severity, images))
        return in_parts(images, lambda part: brighten(part, added))


@dataclass(frozen=True)
class Contrast:
    """Less contrast: every channel is drawn towards its mean over the image.

    Attributes:
        severity: 1 to 5; the share of the contrast that is left.
    """

    strengths: ClassVar = Strengths((0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05))
    severity: int = 3

    def __post_init__(self) -> None:
        check_severity("contrast", self.severity)

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return flatter images."""
        left = np.float32(self.strengths.at(self.severity, images))

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
