"""Preprocessing, declared once and used for calibration, evaluation and export."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Preprocessing:
    """From stored uint8 pixels to what the model takes: ``(pixel / 255 - mean) / std`` per channel.

    Attributes:
        mean: one value per channel, on the scale [0, 1].
        std: one positive value per channel, on the scale [0, 1].
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(
                f"preprocessing: mean has {len(self.mean)} and std {len(self.std)} values; "
                "give one of each per channel"
            )
        if min(self.std) <= 0:
            raise ValueError(f"preprocessing: std must be positive, got {list(self.std)}")

    @property
    def channels(self) -> int:
        """Number of image channels."""
        return len(self.mean)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return ``(N, C, H, W)`` float32 for uint8 images of the same shape."""
        mean, std = (_column(values) for values in (self.mean, self.std))
        return (images.astype(np.float32) / np.float32(255.0) - mean) / std


def _column(values: Sequence[float]) -> np.ndarray:
    return np.asarray(values, np.float32)[None, :, None, None]
