"""Float models: what one is, the reference architectures, and how references are trained.

What needs torch is imported when it is first asked for, so that naming a type costs nothing.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ptq_pipeline.tasks.task import Classification, Task

if TYPE_CHECKING:
    from torch import nn

_HOMES = {
    "compact_detector": "detectors",
    "load_float_model": "loading",
    "mobilenet_v2_small": "architectures",
    "resnet20": "architectures",
    "run_in_batches": "inference",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True)
class Preprocessing:
    """From uint8 pixels to what the model takes: ``(pixel / 255 - mean) / std`` per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(
                f"preprocessing: mean has {len(self.mean)} and std {len(self.std)} values; "
                "give one of each per channel"
            )
        if min(self.std) <= 0:
            raise ValueError(f"preprocessing: std must be positive, got {list(self.std)}")

    @property
    def channels(self) -> int:
        """Number of image channels."""
        return len(self.mean)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return ``(N, C, H, W)`` float32 for uint8 images of the same shape."""
        mean, std = (
            np.asarray(values, np.float32)[None, :, None, None] for values in (self.mean, self.std)
        )
        return (images.astype(np.float32) / np.float32(255.0) - mean) / std


@dataclass(frozen=True, eq=False)
class FloatModel:
    """A trained network in evaluation mode.

    Attributes:
        module: takes ``(N, C, H, W)`` float32, returns logits ``(N, len(classes))``; of a detector
            the raw values of its places ``(N, places, values)``.
        preprocessing: turns stored uint8 pixels into what ``module`` takes.
        classes: class names in the order of the logits.
        fingerprint: SHA-256 over factory, its arguments, weights, preprocessing, classes and what
            the network answers to two images of noise.
        training_keys: sorted uint64 array, the first 8 bytes of the SHA-256 of every training
            image, or None when that is not recorded.
        source: arguments with which `load_float_model` builds the same model in another process,
            as JSON types with ``weights`` a path; None for a model that was put together by hand.
        task: what its output says.
    """

    module: "nn.Module"
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    fingerprint: str
    training_keys: np.ndarray | None = None
    source: Mapping[str, Any] | None = None
    task: Task = Classification()

    def example_input(self, image_shape: tuple[int, ...]) -> np.ndarray:
        """Return two preprocessed images of noise, ``(2, C, H, W)`` float32, always the same."""
        pixels = np.random.default_rng(0).integers(0, 256, (2, *image_shape), np.uint8)
        return self.preprocessing(pixels)
