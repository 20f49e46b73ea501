"""Changes to the pixels of calibration images, described by plain data that a manifest can hold.

Any kind of shift, and augmentations, which may change what an image shows: no label of a
calibration image is ever used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.stress.base import ByImage, InParts, Shift, to_bytes
from ptq_pipeline.stress.shifts import build_shift, known_shifts

STEPS = "steps"
# Shifts that draw nothing have no seed; what a strategy adds to every description is dropped there.
SEED = "seed"


@dataclass(frozen=True)
class Flip(InParts):
    """Mirror left and right."""

    seed: int = 0

    def _change(self, part: np.ndarray) -> np.ndarray:
        return part[..., ::-1]


@dataclass(frozen=True)
class Crop(ByImage):
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

    def _change(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        height, width = image.shape[1:]
        pads = max(1, round(height * self.reach)), max(1, round(width * self.reach))
        padded = np.pad(image, [(0, 0), *((pad, pad) for pad in pads)], mode="edge")
        down, right = (int(generator.integers(2 * pad + 1)) for pad in pads)
        return padded[:, down : down + height, right : right + width]


@dataclass(frozen=True)
class BrightnessJitter(ByImage):
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

    def _change(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return image * np.float32(generator.uniform(1 - self.reach, 1 + self.reach))


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
class Foreign(ByImage):
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

    def _change(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        if self.content == "inverted":
            return 255 - image
        if self.content == "noise":
            return generator.integers(0, 256, image.shape).astype(np.float32)
        flat = image.reshape(len(image), -1)
        return flat[:, generator.permutation(flat.shape[1])].reshape(image.shape)


AUGMENTATIONS: dict[str, Callable[..., Shift]] = {
    "flip": Flip,
    "crop": Crop,
    "brightness_jitter": BrightnessJitter,
    "mixup": MixUp,
    "foreign": Foreign,
}


def perturb(images: np.ndarray, keys: np.ndarray, description: Mapping[str, Any]) -> np.ndarray:
    """Return the images changed as ``description`` says.

    All randomness of an image comes from the description's seed and the image's key, so the result
    depends neither on order nor (except for ``mixup``) on what else is in the set.

    Args:
        images: ``(N, C, H, W)`` uint8.
        keys: ``(N,)`` uint64, from the images' content hashes.
        description: ``kind`` and its options, for example
            ``{"kind": "gaussian_noise", "sigma": 0.1, "seed": 7}``: an augmentation or any kind of
            shift. ``share`` (default 1) is the chance of an image to be changed.
            ``{"steps": [...]}`` applies several in their order; empty means unchanged.

    Returns:
        ``(N, C, H, W)`` uint8.

    Raises:
        InputError: if the kind or an option is unknown, or a value is out of range.
    """
    images = np.asarray(images)
    for step in _steps(description):
        images = _perturbed(images, keys, step)
    return images


def _perturbed(images: np.ndarray, keys: np.ndarray, step: Mapping[str, Any]) -> np.ndarray:
    options = dict(step)
    share = options.pop("share", 1.0)
    if share == 1.0:
        return _build(options)(images, keys)
    seed = int(options.get(SEED, 0))
    # A stream of its own: the same numbers also decide how an image is changed.
    chances = [np.random.default_rng([seed, int(key), 1]).random() for key in keys]
    chosen = np.flatnonzero(np.array(chances) < share)
    changed = images.copy()
    if len(chosen):
        changed[chosen] = _build(options)(images[chosen], keys[chosen])
    return changed


def check_description(description: Mapping[str, Any]) -> None:
    """Raise InputError if ``description`` names an unknown kind or option, or a bad value."""
    for step in _steps(description):
        options = dict(step)
        share = options.pop("share", 1.0)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise InputError(
                f"perturbation '{options.get('kind')}' of calibration images: share must be above "
                f"0 and at most 1, got {share!r}"
            )
        _build(options)


def seeded(description: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the description with a seed for every step, different ones."""
    steps = [
        {**step, SEED: (seed + number) % 2**53} for number, step in enumerate(_steps(description))
    ]
    if not steps:
        return {}
    return steps[0] if len(steps) == 1 else {STEPS: steps}


def joined(*descriptions: Mapping[str, Any]) -> dict[str, Any]:
    """Return one description that applies several after each other."""
    steps = [step for description in descriptions for step in _steps(description)]
    if not steps:
        return {}
    return steps[0] if len(steps) == 1 else {STEPS: steps}


def _steps(description: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not description:
        return []
    if STEPS not in description:
        return [dict(description)]
    steps = description[STEPS]
    wrong = set(description) != {STEPS} or not isinstance(steps, list | tuple)
    if wrong or not all(isinstance(step, Mapping) for step in steps):
        raise InputError(
            "perturbation of calibration images: give 'steps' alone, as a list of mappings with "
            "'kind' and its options"
        )
    return [dict(step) for step in steps]


def _build(options: Mapping[str, Any]) -> Shift:
    settings = dict(options)
    kind = settings.pop("kind", None)
    if kind in AUGMENTATIONS:
        try:
            return AUGMENTATIONS[kind](**settings)
        except TypeError as error:
            raise InputError(f"perturbation '{kind}' of calibration images: {error}") from error
    if kind not in known_shifts():
        raise InputError(
            f"perturbation '{kind}' of calibration images is unknown; choose one of "
            f"{[*AUGMENTATIONS, *known_shifts()]}"
        )
    try:
        return build_shift(str(kind), settings)
    except InputError as error:
        if SEED not in settings:
            raise InputError(f"perturbation of calibration images: {error}") from error
    # Blur, light and compression draw nothing and take no seed.
    settings.pop(SEED)
    return _build({"kind": kind, **settings})
