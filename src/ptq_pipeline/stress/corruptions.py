"""Corruptions: noise of the sensor, blur of the lens, light, and what compression leaves.

Kinds and strengths in the manner of ImageNet-C and CIFAR-10-C (Hendrycks and Dietterich,
"Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019).
"""

import io
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.stress.base import ByImage, Corruption, InParts

# ImageNet-C gives its radii for images of 224 pixels; as shares of the side one table fits all.
SIDE = 224
# A disk is drawn on a grid this many times finer and averaged, which keeps radii below a pixel.
FINER = 9
RGB = 3
SMOOTH = {"mode": "bilinear", "antialias": True}


@dataclass(frozen=True)
class GaussianNoise(ByImage, Corruption):
    """Additive Gaussian noise, rounded and clipped to bytes.

    Attributes:
        sigma: standard deviation on the scale [0, 1], instead of ``severity``.
        seed: seed of the shift.
    """

    kind: ClassVar = "gaussian_noise"
    small: ClassVar = (0.04, 0.06, 0.08, 0.09, 0.10)
    large: ClassVar = (0.08, 0.12, 0.18, 0.26, 0.38)
    own: ClassVar = "sigma"
    severity: int | None = None
    sigma: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma is not None and not 0 < self.sigma <= 1:
            raise InputError(f"gaussian_noise: sigma must be in (0, 1], got {self.sigma}")

    def _change(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        scale = np.float32(255 * self.strength(image))
        return image + scale * generator.standard_normal(image.shape, dtype=np.float32)


@dataclass(frozen=True)
class ShotNoise(ByImage, Corruption):
    """Poisson noise of a sensor that counts few photons; dark pixels stay dark.

    Attributes:
        severity: 1 to 5; the strengths are the photons of a white pixel.
        seed: seed of the shift.
    """

    kind: ClassVar = "shot_noise"
    small: ClassVar = (500, 250, 100, 75, 50)
    large: ClassVar = (60, 25, 12, 5, 3)
    seed: int = 0

    def _change(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        photons = self.strength(image)
        return generator.poisson(image * (photons / 255)) * (255 / photons)


@dataclass(frozen=True)
class ImpulseNoise(ByImage, Corruption):
    """Salt and pepper: single values become 0 or 255.

    Attributes:
        severity: 1 to 5; the strengths are the share of values that are lost.
        seed: seed of the shift.
    """

    kind: ClassVar = "impulse_noise"
    small: ClassVar = (0.01, 0.02, 0.03, 0.05, 0.07)
    large: ClassVar = (0.03, 0.06, 0.09, 0.17, 0.27)
    seed: int = 0

    def _change(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        share = self.strength(image)
        chance = generator.random(image.shape, dtype=np.float32)
        salted = np.where(chance < share / 2, np.float32(255), image)
        return np.where(chance > 1 - share / 2, np.float32(0), salted)


@dataclass(frozen=True)
class DefocusBlur(InParts, Corruption):
    """A lens out of focus: every point becomes a disk.

    Attributes:
        severity: 1 to 5; the radius of the disk, in pixels of an image of 224.
    """

    kind: ClassVar = "defocus_blur"
    small: ClassVar = (3.0, 4.0, 6.0, 8.0, 10.0)
    large: ClassVar = small

    def _change(self, part: np.ndarray) -> np.ndarray:
        radius = self.strength(part) * min(part.shape[-2:]) / SIDE
        return convolve(part, disk_kernel(radius + 0.5))


@dataclass(frozen=True)
class MotionBlur(ByImage, Corruption):
    """A camera that moved, each image in a direction of its own.

    Attributes:
        severity: 1 to 5; the length of the movement, in pixels of an image of 224.
        seed: seed of the shift.
    """

    kind: ClassVar = "motion_blur"
    small: ClassVar = (10.0, 14.0, 19.0, 26.0, 34.0)
    large: ClassVar = small
    seed: int = 0

    def _change(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        length = self.strength(image) * min(image.shape[-2:]) / SIDE
        return convolve(image, line_kernel(length, generator.uniform(0, math.pi)))


@dataclass(frozen=True)
class Brightness(InParts, Corruption):
    """More light: the brightest channel of every pixel grows by a constant, its colour stays.

    Attributes:
        severity: 1 to 5; the constant on the scale [0, 1].
    """

    kind: ClassVar = "brightness"
    small: ClassVar = (0.05, 0.1, 0.15, 0.2, 0.3)
    large: ClassVar = (0.1, 0.2, 0.3, 0.4, 0.5)

    def _change(self, part: np.ndarray) -> np.ndarray:
        # The value in the sense of hue, saturation, value.
        value = part.max(1, keepdims=True)
        wanted = np.clip(value + np.float32(255 * self.strength(part)), 0, 255)
        return np.where(value > 0, part * (wanted / np.maximum(value, 1)), wanted)


@dataclass(frozen=True)
class Contrast(InParts, Corruption):
    """Less contrast: every channel is drawn towards its mean over the image.

    Attributes:
        severity: 1 to 5; the share of the contrast that is left.
    """

    kind: ClassVar = "contrast"
    small: ClassVar = (0.75, 0.5, 0.4, 0.3, 0.15)
    large: ClassVar = (0.4, 0.3, 0.2, 0.1, 0.05)

    def _change(self, part: np.ndarray) -> np.ndarray:
        mean = part.mean((2, 3), keepdims=True)
        return (part - mean) * np.float32(self.strength(part)) + mean


@dataclass(frozen=True)
class Jpeg(InParts, Corruption):
    """JPEG compression, in colour for three channels, otherwise channel by channel.

    Attributes:
        severity: 1 to 5; JPEG's quality.
    """

    kind: ClassVar = "jpeg"
    small: ClassVar = (80, 65, 58, 50, 40)
    large: ClassVar = (25, 18, 15, 10, 7)

    def _change(self, part: np.ndarray) -> np.ndarray:
        quality = int(self.strength(part))
        images = part.astype(np.uint8)
        if part.shape[1] == RGB:
            coloured = images.transpose(0, 2, 3, 1)
            return np.stack([_compressed(each, quality) for each in coloured]).transpose(0, 3, 1, 2)
        return np.stack([[_compressed(each, quality) for each in image] for image in images])


@dataclass(frozen=True)
class Pixelate(InParts, Corruption):
    """Coarse pixels: each one the mean of those it covers.

    Attributes:
        severity: 1 to 5; the side of the coarse image relative to the original.
    """

    kind: ClassVar = "pixelate"
    small: ClassVar = (0.95, 0.9, 0.85, 0.75, 0.65)
    large: ClassVar = (0.6, 0.5, 0.4, 0.3, 0.25)

    def _change(self, part: np.ndarray) -> np.ndarray:
        return _there_and_back(part, self.strength(part), {"mode": "area"}, {"mode": "nearest"})


@dataclass(frozen=True)
class ImageSize(InParts, Corruption):
    """Shrink the image and enlarge it again, both bilinear with antialiasing.

    Attributes:
        scale: side of the small image relative to the original, in (0, 1), instead of ``severity``.
    """

    kind: ClassVar = "image_size"
    small: ClassVar = (0.9, 0.8, 0.7, 0.6, 0.5)
    large: ClassVar = (0.7, 0.5, 0.4, 0.3, 0.2)
    own: ClassVar = "scale"
    severity: int | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale is not None and not 0 < self.scale < 1:
            raise InputError(f"image_size: scale must be in (0, 1), got {self.scale}")

    def _change(self, part: np.ndarray) -> np.ndarray:
        return _there_and_back(part, self.strength(part), SMOOTH, SMOOTH)


CORRUPTIONS: tuple[type[Corruption], ...] = (
    *(GaussianNoise, ShotNoise, ImpulseNoise, DefocusBlur, MotionBlur),
    *(Brightness, Contrast, Jpeg, Pixelate, ImageSize),
)


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def _there_and_back(
    part: np.ndarray, scale: float, down: dict[str, Any], up: dict[str, Any]
) -> np.ndarray:
    """Shrink the sides to a share ``scale`` and enlarge them again, as torch interpolates."""
    import torch
    from torch.nn.functional import interpolate

    small = [max(1, round(side * scale)) for side in part.shape[2:]]
    shrunk = interpolate(torch.from_numpy(part), small, **down)
    return interpolate(shrunk, part.shape[2:], **up).numpy()


def convolve(images: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return ``(..., H, W)`` images convolved with an odd square kernel, edges repeated.

    A sum of moved copies: every pixel is computed alike whatever else is in the array, which
    faster algorithms do not promise.
    """
    reach = len(kernel) // 2
    pads = [(0, 0)] * (images.ndim - 2) + [(reach, reach)] * 2
    padded = np.pad(images, pads, mode="edge")
    height, width = images.shape[-2:]
    blurred = np.zeros(images.shape, np.float32)
    for down, right in np.argwhere(kernel > 0):
        moved = padded[..., down : down + height, right : right + width]
        blurred += np.float32(kernel[down, right]) * moved
    return blurred


def disk_kernel(radius: float) -> np.ndarray:
    """Return an odd square kernel: the share of each pixel that a disk covers, sum 1."""
    reach = math.ceil(radius)
    fine = (np.arange((2 * reach + 1) * FINER) + 0.5) / FINER - reach - 0.5
    inside = fine[:, None] ** 2 + fine[None, :] ** 2 <= max(radius, 0.5 / FINER) ** 2
    cells = inside.reshape(2 * reach + 1, FINER, 2 * reach + 1, FINER).mean((1, 3))
    return cells / cells.sum()


def line_kernel(length: float, angle: float) -> np.ndarray:
    """Return an odd square kernel: a line through the middle, fading to its end, sum 1."""
    reach = math.ceil(length / 2) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    along = np.linspace(-length / 2, length / 2, 8 * reach + 1)
    for position in along:
        down = reach + position * math.sin(angle)
        right = reach + position * math.cos(angle)
        row, column = math.floor(down), math.floor(right)
        below, beside = down - row, right - column
        kernel[row, column] += (1 - below) * (1 - beside)
        kernel[row + 1, column] += below * (1 - beside)
        kernel[row, column + 1] += (1 - below) * beside
        kernel[row + 1, column + 1] += below * beside
    return kernel / kernel.sum()
