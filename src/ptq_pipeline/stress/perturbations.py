"""Changes to the pixels of calibration images, described by plain data that a manifest can hold."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.stress.augmentations import BrightnessJitter, Crop, Flip, Foreign, MixUp
from ptq_pipeline.stress.base import Shift
from ptq_pipeline.stress.shifts import build_shift, known_shifts

AUGMENTATIONS: dict[str, Callable[..., Shift]] = {
    "flip": Flip,
    "crop": Crop,
    "brightness_jitter": BrightnessJitter,
    "mixup": MixUp,
    "foreign": Foreign,
}
STEPS = "steps"
# Shifts that draw nothing have no seed; what a strategy adds to every description is dropped there.
SEED = "seed"


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
