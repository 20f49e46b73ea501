"""What every shift is, and what most of them need."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from ptq_pipeline.core.errors import InputError

# ImageNet-C and CIFAR-10-C use different strengths for the same corruption; images whose shorter
# side is below this many pixels get the second.
SMALL_SIDE = 64
# Images are worked on in parts of about this many float32 values.
PART = 4_000_000


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
class Strengths:
    """Five strengths of a corruption, from 1 (weak) to 5, for small and for large images."""

    small: tuple[float, ...]
    large: tuple[float, ...]

    def at(self, severity: int, images: np.ndarray) -> float:
        """Return the strength of ``severity`` for images ``(N, C, H, W)``."""
        is_small = min(images.shape[2:]) < SMALL_SIDE
        return (self.small if is_small else self.large)[severity - 1]


def check_severity(kind: str, severity: int) -> None:
    """Raise InputError unless ``severity`` is one of 1 to 5."""
    if isinstance(severity, bool) or severity not in (1, 2, 3, 4, 5):
        raise InputError(f"{kind}: severity must be 1, 2, 3, 4 or 5, got {severity!r}")


@dataclass(frozen=True)
class Corruption:
    """Base of corruptions in five strengths.

    Attributes:
        severity: 1 to 5.
    """

    kind: ClassVar[str]
    strengths: ClassVar[Strengths]
    severity: int = 3

    def __post_init__(self) -> None:
        check_severity(self.kind, self.severity)

    def strength(self, images: np.ndarray) -> float:
        """Return what the severity means for images ``(N, C, H, W)``."""
        return self.strengths.at(self.severity, images)


def check_one_strength(kind: str, name: str, value: float | None, severity: int | None) -> None:
    """Raise InputError unless exactly one of a strength of its own and a severity is given."""
    if (value is None) == (severity is None):
        raise InputError(f"{kind}: give either {name} or severity (1 to 5)")
    if severity is not None:
        check_severity(kind, severity)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Round and clip floats on the scale 0 to 255 to uint8."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def each_image(
    images: np.ndarray,
    keys: np.ndarray,
    seed: int,
    change: Callable[[np.ndarray, np.random.Generator], np.ndarray],
) -> np.ndarray:
    """Change image by image, each with a generator of its own.

    Args:
        images: ``(N, C, H, W)`` uint8.
        keys: ``(N,)`` uint64.
        seed: seed of the shift.
        change: from a float32 image ``(C, H, W)`` on the scale 0 to 255, and the image's generator,
            to the changed values.

    Returns:
        ``(N, C, H, W)`` uint8.
    """
    changed = np.empty(images.shape, np.uint8)
    for row, key in enumerate(keys):
        generator = np.random.default_rng([seed, int(key)])
        changed[row] = to_bytes(change(np.asarray(images[row], np.float32), generator))
    return changed


def in_parts(images: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Change images some at a time: ``change`` maps float32 ``(n, C, H, W)``, scale 0 to 255."""
    changed = np.empty(images.shape, np.uint8)
    step = max(1, PART // int(np.prod(images.shape[1:])))
    for start in range(0, len(images), step):
        part = np.asarray(images[start : start + step], np.float32)
        changed[start : start + step] = to_bytes(change(part))
    return changed
