"""Numeric profiles of images: what Great Expectations and Evidently see instead of pixels."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from ptq_pipeline.models.float_model import FloatModel

IMAGE_FEATURES = (
    "brightness",
    "contrast",
    "sharpness",
    "noise",
    "entropy",
    "foreground_share",
    "foreground_brightness",
)
COMPONENTS = 8
# A pixel brighter than this share of the scale belongs to the object, not to the dark background.
FOREGROUND_LEVEL = 0.1
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True, eq=False)
class Projection:
    """Leading principal components of the penultimate features.

    Attributes:
        mean: ``(F,)`` float32.
        components: ``(COMPONENTS, F)`` float32, rows of unit length (zero where F is too small).
    """

    mean: np.ndarray
    components: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Project ``(N, F)`` features to ``(N, COMPONENTS)``."""
        return (features - self.mean) @ self.components.T

    def to_json(self) -> dict[str, list]:
        """Return plain lists."""
        return {"mean": self.mean.tolist(), "components": self.components.tolist()}

    @classmethod
    def from_json(cls, content: dict[str, list]) -> "Projection":
        """Rebuild a projection from :meth:`to_json`."""
        return cls(
            np.asarray(content["mean"], np.float32), np.asarray(content["components"], np.float32)
        )


def fit_projection(features: np.ndarray) -> Projection:
    """Fit the principal components of ``(N, F)`` features, each with its largest entry positive."""
    mean = features.mean(0)
    _, _, rows = np.linalg.svd(features - mean, full_matrices=False)
    rows = rows[:COMPONENTS]
    largest = rows[np.arange(len(rows)), np.abs(rows).argmax(1)]
    components = np.zeros((COMPONENTS, features.shape[1]), np.float32)
    components[: len(rows)] = rows * np.where(largest < 0, -1.0, 1.0)[:, None]
    return Projection(mean.astype(np.float32), components)


def image_features(images: np.ndarray, chunk: int = 500) -> pd.DataFrame:
    """Compute the features that need nothing but pixels.

    Args:
        images: ``(N, C, H, W)`` uint8 with one or three channels; H and W at least 3.
        chunk: images at a time.

    Returns:
        One row per image, float64 columns: ``brightness`` and ``contrast`` (mean and standard
        deviation of luminance in [0, 1]), ``sharpness`` (mean absolute Laplacian), ``noise``
        (standard deviation estimated by Immerkaer, CVIU 64(2), 1996), ``entropy`` (bits of the
        256-level histogram), ``foreground_share`` (pixels brighter than 0.1) and
        ``foreground_brightness`` (their mean luminance, 0 without any).
    """
    parts = [
        _image_features(np.asarray(images[start : start + chunk]))
        for start in range(0, len(images), chunk)
    ]
    rows = np.concatenate(parts) if parts else np.zeros((0, len(IMAGE_FEATURES)))
    return pd.DataFrame(rows, columns=list(IMAGE_FEATURES))


def _image_features(images: np.ndarray) -> np.ndarray:
    count, channels = images.shape[:2]
    scaled = images.astype(np.float32) / np.float32(255)
    # Not by tensordot: a matrix product rounds by the number of images, a sum of planes does not.
    planes = [scaled[:, i] * weight for i, weight in enumerate(_LUMA)] if channels > 1 else []
    luma = planes[0] + planes[1] + planes[2] if planes else scaled[:, 0]
    pixels = luma.reshape(count, -1).astype(np.float64)
    inner = luma[:, 1:-1, 1:-1]
    cross = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
    corners = luma[:, :-2, :-2] + luma[:, :-2, 2:] + luma[:, 2:, :-2] + luma[:, 2:, 2:]
    laplacian = np.abs(4 * inner - cross).reshape(count, -1)
    immerkaer = np.abs(4 * inner - 2 * cross + corners).reshape(count, -1)
    levels = np.rint(pixels * 255).astype(np.int64) + 256 * np.arange(count)[:, None]
    shares = np.bincount(levels.ravel(), minlength=256 * count).reshape(count, 256)
    shares = shares / pixels.shape[1]
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    foreground = pixels > FOREGROUND_LEVEL
    size = foreground.sum(1)
    return np.stack(
        [
            pixels.mean(1),
            pixels.std(1),
            laplacian.mean(1, dtype=np.float64),
            np.sqrt(np.pi / 2) / 6 * immerkaer.mean(1, dtype=np.float64),
            -(shares * logs).sum(1),
            size / pixels.shape[1],
            (pixels * foreground).sum(1) / np.maximum(size, 1),
        ],
        axis=1,
    )


def model_features(
    logits: np.ndarray, features: np.ndarray, projection: Projection
) -> pd.DataFrame:
    """Turn the float model's outputs into profile columns.

    Args:
        logits: ``(N, classes)`` float32.
        features: ``(N, F)`` float32 penultimate features.
        projection: fitted on the reference.

    Returns:
        Columns ``predicted`` (int64), ``confidence`` (largest softmax probability), ``margin``
        (largest minus second largest probability), ``component_1`` to ``component_8``.
    """
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    top = np.sort(probabilities, axis=1)[:, ::-1]
    frame = pd.DataFrame({"predicted": logits.argmax(1).astype(np.int64), "confidence": top[:, 0]})
    frame["margin"] = top[:, 0] - (top[:, 1] if top.shape[1] > 1 else 0.0)
    names = [f"component_{number}" for number in range(1, COMPONENTS + 1)]
    components = pd.DataFrame(projection(features).astype(np.float64), columns=names)
    return pd.concat([frame, components], axis=1)


def profile(images: np.ndarray, model: "FloatModel", projection: Projection) -> pd.DataFrame:
    """Return all profile columns of uint8 ``(N, C, H, W)`` images, one row each, in order."""
    from ptq_pipeline.models.float_model import run_in_batches

    logits, features = run_in_batches(model, images)
    return pd.concat([image_features(images), model_features(logits, features, projection)], axis=1)
