"""What every shift is, and what most of them need."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from ptq_pipeline.core.errors import InputError

# ImageNet-C and CIFAR-10-C use different strengths for the same corruption; images whose shorter
# side is below this many pixels get those of the second.
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


class Clean:
    """The images as they are."""

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return the images unchanged."""
        return np.asarray(images)


class InParts(ABC):
    """Base of shifts that draw nothing: images are changed some at a time."""

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return changed images, see `Shift`."""
        changed = np.empty(images.shape, np.uint8)
        step = max(1, PART // int(np.prod(images.shape[1:])))
        for start in range(0, len(images), step):
            part = np.asarray(images[start : start + step], np.float32)
            changed[start : start + step] = to_bytes(self._change(part))
        return changed

    @abstractmethod
    def _change(self, part: np.ndarray) -> np.ndarray:
        """Change float32 images ``(n, C, H, W)`` on the scale 0 to 255."""


class ByImage(ABC):
    """Base of random shifts: images are changed one by one, each with a generator of its own."""

    seed: int

    def __call__(self, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return changed images, see `Shift`."""
        changed = np.empty(images.shape, np.uint8)
        for row, key in enumerate(keys):
            generator = np.random.default_rng([self.seed, int(key)])
            changed[row] = to_bytes(self._change(np.asarray(images[row], np.float32), generator))
        return changed

    @abstractmethod
    def _change(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Change a float32 image ``(C, H, W)`` on the scale 0 to 255."""


@dataclass(frozen=True)
class Corruption:
    """Base of corruptions in five strengths.

    Attributes:
        severity: 1 to 5.
    """

    kind: ClassVar[str]
    # For images with a short side, and for others.
    small: ClassVar[tuple[float, ...]]
    large: ClassVar[tuple[float, ...]]
    # A field that may be given instead of the severity.
    own: ClassVar[str | None] = None

    severity: int | None = 3

    def __post_init__(self) -> None:
        if self.own is not None and (self._own is None) == (self.severity is None):
            raise InputError(f"{self.kind}: give either {self.own} or severity (1 to 5)")
        known = isinstance(self.severity, int) and not isinstance(self.severity, bool)
        if self._own is None and not (known and self.severity in range(1, 6)):
            raise InputError(
                f"{self.kind}: severity must be 1, 2, 3, 4 or 5, got {self.severity!r}"
            )

    @property
    def _own(self) -> float | None:
        return None if self.own is None else getattr(self, self.own)

    def strength(self, images: np.ndarray) -> float:
        """Return what the severity means for images ``(..., H, W)``."""
        if self._own is not None:
            return self._own
        strengths = self.small if min(images.shape[-2:]) < SMALL_SIDE else self.large
        return strengths[(self.severity or 0) - 1]


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Round and clip floats on the scale 0 to 255 to uint8."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
