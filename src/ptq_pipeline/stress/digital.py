"""What happens to an image on its way: compression, coarse pixels, another size."""

import io
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.stress.base import Corruption, Strengths, check_one_strength, in_parts

RGB = 3


@dataclass(frozen=True)
class Jpeg(Corruption):
    """JPEG compression, in colour for three channels, otherwise channel by channel.

    Attributes:
        severity: 1 to 5; JPEG's quality.
    """

    kind: ClassVar = "jpeg"
    strengths: ClassVar = Strengths((80, 65, 58, 50, 40), (25, 18, 15, 10, 7))

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return images that were compressed and opened again."""
        quality = int(self.strength(images))
        changed = np.empty(images.shape, np.uint8)
        for row, image in enumerate(np.asarray(images)):
            if len(image) == RGB:
                changed[row] = _compressed(image.transpose(1, 2, 0), quality).transpose(2, 0, 1)
            else:
                changed[row] = [_compressed(channel, quality) for channel in image]
        return changed


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


@dataclass(frozen=True)
class Pixelate(Corruption):
    """Coarse pixels: each one the mean of those it covers.

    Attributes:
        severity: 1 to 5; the side of the coarse image relative to the original.
    """

    kind: ClassVar = "pixelate"
    strengths: ClassVar = Strengths((0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25))

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return images of coarse pixels."""
        small = _scaled(images, self.strength(images))

        def change(part: np.ndarray) -> np.ndarray:
            import torch
            from torch.nn.functional import interpolate

            coarse = interpolate(torch.from_numpy(part), small, mode="area")
            return interpolate(coarse, part.shape[2:], mode="nearest").numpy()

        return in_parts(images, change)


@dataclass(frozen=True)
class ImageSize:
    """Shrink the image and enlarge it again, both bilinear with antialiasing.

    Attributes:
        scale: side of the small image relative to the original, in (0, 1).
        severity: 1 to 5, instead of ``scale``.
    """

    strengths: ClassVar = Strengths((0.9, 0.8, 0.7, 0.6, 0.5), (0.7, 0.5, 0.4, 0.3, 0.2))
    scale: float | None = None
    severity: int | None = None

    def __post_init__(self) -> None:
        check_one_strength("image_size", "scale", self.scale, self.severity)
        if self.scale is not None and not 0 < self.scale < 1:
            raise InputError(f"image_size: scale must be in (0, 1), got {self.scale}")

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return images that have lost their fine detail."""
        scale = self.scale
        if scale is None:
            scale = self.strengths.at(int(self.severity or 1), images)
        small = _scaled(images, scale)

        def change(part: np.ndarray) -> np.ndarray:
            import torch
            from torch.nn.functional import interpolate

            options = {"mode": "bilinear", "antialias": True}
            shrunk = interpolate(torch.from_numpy(part), small, **options)
            return interpolate(shrunk, part.shape[2:], **options).numpy()

        return in_parts(images, change)


def _scaled(images: np.ndarray, scale: float) -> tuple[int, int]:
    height, width = images.shape[2:]
    return max(1, round(height * scale)), max(1, round(width * scale))
