"""Changes to the pixels of calibration images, described by plain data that a manifest can hold."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ptq_pipeline.errors import InputError
from ptq_pipeline.stress.shifts import GaussianNoise, Shift

PERTURBATIONS: dict[str, Callable[..., Shift]] = {"gaussian_noise": GaussianNoise}


def perturb(images: np.ndarray, keys: np.ndarray, description: Mapping[str, Any]) -> np.ndarray:
    """Return the images changed as ``description`` says.

    All randomness of an image comes from the description's seed and the image's key, so the result
    depends neither on order nor on what else is in the set.

    Args:
        images: ``(N, C, H, W)`` uint8.
        keys: ``(N,)`` uint64, from the images' content hashes.
        description: ``kind`` and its options, for example
            ``{"kind": "gaussian_noise", "sigma": 0.1, "seed": 7}``; empty means unchanged.

    Returns:
        ``(N, C, H, W)`` uint8.

    Raises:
        InputError: if the kind or an option is unknown, or a value is out of range.
    """
    if not description:
        return np.asarray(images)
    options = dict(description)
    kind = options.pop("kind", None)
    if kind not in PERTURBATIONS:
        raise InputError(
            f"perturbation '{kind}' of calibration images is unknown; choose one of "
            f"{list(PERTURBATIONS)}"
        )
    try:
        change = PERTURBATIONS[kind](**options)
    except TypeError as error:
        raise InputError(f"perturbation '{kind}' of calibration images: {error}") from error
    return change(images, keys)
