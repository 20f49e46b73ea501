"""Distribution shifts under which the audit evaluates: functions of pixels and seed alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ptq_pipeline.errors import InputError


class Shift(Protocol):
    """A change of the images that keeps their labels."""

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return shifted images.

        Args:
            images: ``(N, C, H, W)`` uint8.
            keys: ``(N,)`` uint64, one per image, from its content hash. All randomness of an image
                comes from its key and the shift's seed, so that order and batches play no part.

        Returns:
            ``(N, C, H, W)`` uint8.
        """
        ...


@dataclass(frozen=True)
class Clean:
    """The images as they are."""

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return the images unchanged."""
        return np.asarray(images)


@dataclass(frozen=True)
class GaussianNoise:
    """Additive Gaussian noise, rounded and clipped to bytes.

    Attributes:
        sigma: standard deviation on the scale [0, 1].
        seed: seed of the shift.
    """

    sigma: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.sigma <= 1:
            raise InputError(f"gaussian_noise: sigma must be in (0, 1], got {self.sigma}")

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return noisy images."""
        noisy = np.empty(images.shape, np.uint8)
        for row, key in enumerate(keys):
            noise = np.random.default_rng([self.seed, int(key)]).standard_normal(
                images.shape[1:], dtype=np.float32
            )
            changed = np.asarray(images[row], np.float32) + np.float32(255 * self.sigma) * noise
            noisy[row] = np.clip(np.rint(changed), 0, 255)
        return noisy


@dataclass(frozen=True)
class ImageSize:
    """Shrink the image and enlarge it again, both bilinear with antialiasing.

    Attributes:
        scale: side of the small image relative to the original, in (0, 1).
    """

    scale: float

    def __post_init__(self) -> None:
        if not 0 < self.scale < 1:
            raise InputError(f"image_size: scale must be in (0, 1), got {self.scale}")

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return images that have lost their fine detail."""
        import torch
        from torch.nn.functional import interpolate

        height, width = images.shape[2:]
        small = (max(1, round(height * self.scale)), max(1, round(width * self.scale)))
        resized = np.empty(images.shape, np.uint8)
        for start in range(0, len(images), 500):
            batch = torch.from_numpy(np.asarray(images[start : start + 500], np.float32))
            shrunk = interpolate(batch, small, mode="bilinear", antialias=True)
            enlarged = interpolate(shrunk, (height, width), mode="bilinear", antialias=True)
            resized[start : start + 500] = enlarged.round().clamp(0, 255).numpy()
        return resized


SHIFTS: dict[str, Callable[..., Shift]] = {
    "clean": Clean,
    "gaussian_noise": GaussianNoise,
    "image_size": ImageSize,
}


def build_shift(name: str, options: Mapping[str, object]) -> Shift:
    """Build the shift called ``options['kind']``, or ``name`` where no kind is given.

    Args:
        name: the name under which the shift appears in tables.
        options: ``kind`` and the attributes of that kind.

    Raises:
        InputError: if the kind or an option is unknown, or a value is out of range.
    """
    settings = dict(options)
    kind = str(settings.pop("kind", name))
    if kind not in SHIFTS:
        raise InputError(f"shift '{name}': kind '{kind}' is unknown; choose one of {list(SHIFTS)}")
    try:
        return SHIFTS[kind](**settings)
    except TypeError as error:
        raise InputError(f"shift '{name}': {error}") from error
