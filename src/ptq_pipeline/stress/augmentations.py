"""Augmentations of calibration images: flips, crops, light, noise, mixed pairs, foreign images.

Unlike a shift of the evaluation they may change what an image shows: no label of a calibration
image is ever used.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.stress.base import each_image, in_parts, to_bytes


@dataclass(frozen=True)
class Flip:
    """Mirror left and right."""

    seed: int = 0

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return mirrored images."""
        return np.ascontiguousarray(np.asarray(images)[..., ::-1])


@dataclass(frozen=True)
class Crop:
    """Move the frame: a window of the image's own size, somewhere over its repeated edges.

    Attributes:
        reach: how far at most, relative to the side.
        seed: seed of the augmentation.
    """

    reach: float = 0.125
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.reach < 1:
            raise InputError(f"crop: reach must be in (0, 1), got {self.reach}")

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return moved images."""
        height, width = images.shape[2:]
        pads = max(1, round(height * self.reach)), max(1, round(width * self.reach))

        def change(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
            padded = np.pad(image, [(0, 0), *((pad, pad) for pad in pads)], mode="edge")
            down, right = (int(generator.integers(2 * pad + 1)) for pad in pads)
            return padded[:, down : down + height, right : right + width]

        return each_image(images, keys, self.seed, change)


@dataclass(frozen=True)
class BrightnessJitter:
    """Multiply every image by a factor of its own.

    Attributes:
        reach: the factor lies between ``1 - reach`` and ``1 + reach``.
        seed: seed of the augmentation.
    """

    reach: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.reach < 1:
            raise InputError(f"brightness_jitter: reach must be in (0, 1), got {self.reach}")

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return brighter and darker images."""

        def change(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
            return image * np.float32(generator.uniform(1 - self.reach, 1 + self.reach))

        return each_image(images, keys, self.seed, change)


@dataclass(frozen=True)
class MixUp:
    """Blend every image with another one of the set (Zhang et al., mixup, ICLR 2018).

    The partner is the next image in a random circle through all keys, so the order of the set plays
    no part; what else is in the set does.

    Attributes:
        alpha: both parameters of the Beta distribution of the image's own share.
        seed: seed of the augmentation.
    """

    alpha: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 100:
            raise InputError(f"mixup: alpha must be in (0, 100), got {self.alpha}")

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return blended images."""
        generators = [np.random.default_rng([self.seed, int(key)]) for key in keys]
        places = [generator.random() for generator in generators]
        circle = np.lexsort((keys, places))
        partners = np.empty(len(keys), np.int64)
        partners[circle] = np.roll(circle, -1)
        images = np.asarray(images)
        mixed = np.empty(images.shape, np.uint8)
        for row, generator in enumerate(generators):
            share = np.float32(generator.beta(self.alpha, self.alpha))
            other = images[partners[row]].astype(np.float32)
            mixed[row] = to_bytes(share * images[row] + (1 - share) * other)
        return mixed


@dataclass(frozen=True)
class Foreign:
    """Replace images by ones that no camera of production takes.

    Attributes:
        content: ``noise``: every pixel at random; ``shuffled``: the image's own pixels in random
            places; ``inverted``: bright for dark.
        seed: seed of the augmentation.
    """

    content: Literal["noise", "shuffled", "inverted"] = "noise"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.content not in ("noise", "shuffled", "inverted"):
            raise InputError(
                f"foreign: content must be noise, shuffled or inverted, got {self.content!r}"
            )

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return foreign images."""
        if self.content == "inverted":
            return in_parts(images, lambda part: 255 - part)

        def change(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
            if self.content == "noise":
                return generator.integers(0, 256, image.shape).astype(np.float32)
            flat = image.reshape(len(image), -1)
            return flat[:, generator.permutation(flat.shape[1])].reshape(image.shape)

        return each_image(images, keys, self.seed, change)
