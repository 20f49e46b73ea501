"""Blur of the lens and of motion; radii are shares of the image's side, so one table fits all."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ptq_pipeline.stress.base import Corruption, Strengths, each_image, in_parts

# ImageNet-C gives its radii for images of 224 pixels.
SIDE = 224
RADII, LENGTHS = (3.0, 4.0, 6.0, 8.0, 10.0), (10.0, 14.0, 19.0, 26.0, 34.0)
# A disk is drawn on a grid this many times finer and averaged, which keeps radii below a pixel.
FINER = 9


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


@dataclass(frozen=True)
class DefocusBlur(Corruption):
    """A lens out of focus: every point becomes a disk.

    Attributes:
        severity: 1 to 5; the radius of the disk, in pixels of an image of 224.
    """

    kind: ClassVar = "defocus_blur"
    strengths: ClassVar = Strengths(RADII, RADII)

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return blurred images."""
        radius = self.strength(images) * min(images.shape[2:]) / SIDE
        kernel = disk_kernel(radius + 0.5)
        return in_parts(images, lambda part: convolve(part, kernel))


@dataclass(frozen=True)
class MotionBlur(Corruption):
    """A camera that moved, each image in a direction of its own.

    Attributes:
        severity: 1 to 5; the length of the movement, in pixels of an image of 224.
        seed: seed of the shift.
    """

    kind: ClassVar = "motion_blur"
    strengths: ClassVar = Strengths(LENGTHS, LENGTHS)
    seed: int = 0

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return blurred images."""
        length = self.strength(images) * min(images.shape[2:]) / SIDE

        def change(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
            return convolve(image, line_kernel(length, generator.uniform(0, math.pi)))

        return each_image(images, keys, self.seed, change)
