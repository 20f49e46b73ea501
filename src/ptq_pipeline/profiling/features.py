"""Numeric profiles of images: what Great Expectations and Evidently see instead of pixels."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from ptq_pipeline.core.blocks import at_a_time
from ptq_pipeline.tasks.task import Classification, Task

if TYPE_CHECKING:
    from ptq_pipeline.models import FloatModel

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
# Images of the reference that the principal components are fitted on.
MOST_FITTED = 20_000
# Features, and pixels, in memory at a time.
BLOCK = 4096
PIXELS = 400_000
# A pixel brighter than this share of the scale belongs to the object, not to the dark background.
FOREGROUND_LEVEL = 0.1
# Logits and features of some images.
Batch: TypeAlias = tuple[np.ndarray, np.ndarray]
# Is given the batches as they come and how many there will be, and hands them on: shows progress.
Watch: TypeAlias = Callable[[Iterable[Batch], int], Iterable[Batch]]
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
        # Not a matrix product, which rounds by the number of images.
        return np.einsum("nf,kf->nk", features - self.mean, self.components)

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


def image_features(images: np.ndarray, chunk: int | None = None) -> pd.DataFrame:
    """Compute the features that need nothing but pixels.

    Args:
        images: ``(N, C, H, W)`` uint8 with one or three channels; H and W at least 3.
        chunk: images at a time; by default as many as have about `PIXELS` pixels.

    Returns:
        One row per image, float64 columns: ``brightness`` and ``contrast`` (mean and standard
        deviation of luminance in [0, 1]), ``sharpness`` (mean absolute Laplacian), ``noise``
        (standard deviation estimated by Immerkaer, CVIU 64(2), 1996), ``entropy`` (bits of the
        256-level histogram), ``foreground_share`` (pixels brighter than 0.1) and
        ``foreground_brightness`` (their mean luminance, 0 without any).
    """
    chunk = chunk or max(1, PIXELS // int(np.prod(images.shape[2:])))
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
    output: np.ndarray, features: np.ndarray, projection: Projection, task: Task | None = None
) -> pd.DataFrame:
    """Turn the float model's output ``(N, ...)`` and features ``(N, F)`` into columns.

    They are those of `Task.profile` (of a classifier ``predicted``, the largest softmax probability
    as ``confidence``, its lead as ``margin``), and ``component_1`` to ``component_8``.
    """
    said = (task or Classification()).profile(output)
    return pd.concat([said, _components(features, projection)], axis=1)


def _components(features: np.ndarray, projection: Projection) -> pd.DataFrame:
    names = [f"component_{number}" for number in range(1, COMPONENTS + 1)]
    return pd.DataFrame(projection(features).astype(np.float64), columns=names)


def profile(images: np.ndarray, model: "FloatModel", projection: Projection) -> pd.DataFrame:
    """Return all profile columns of uint8 ``(N, C, H, W)`` images, one row each, in order.

    Of the model's logits and features one batch is in memory at a time.
    """
    from ptq_pipeline.models.inference import batches

    parts = [model_features(*each, projection, model.task) for each in batches(model, images)]
    if not parts:
        nothing = np.zeros((0, len(model.classes)), np.float32)
        empty = np.zeros((0, projection.mean.size), np.float32)
        parts = [model_features(nothing, empty, projection, model.task)]
    return pd.concat([image_features(images), pd.concat(parts, ignore_index=True)], axis=1)


def profile_and_fit(
    images: np.ndarray, model: "FloatModel", reference: np.ndarray, watch: Watch | None = None
) -> tuple[pd.DataFrame, Projection]:
    """Profile images, with the projection fitted on those of the reference.

    The features wait in a temporary file until the projection is known, so memory grows with the
    reference (at most `MOST_FITTED` images of it), not with the set.

    Args:
        images: ``(N, C, H, W)`` uint8, may be memory-mapped; at least one.
        model: the float model.
        reference: ``(N,)`` whether an image is of the reference.
        watch: shows how far the batches are.
    """
    from ptq_pipeline.models.inference import BATCH_SIZE, batches

    answers, done = [], 0
    found: Iterable[Batch] = batches(model, images)
    if watch is not None:
        found = watch(found, -(-len(images) // at_a_time(images.shape[1:], BATCH_SIZE)))
    with tempfile.TemporaryFile(prefix="ptq-features-") as scratch:
        for logits, features in found:
            if not done:
                shape = (len(images), features.shape[1])
                stored = np.memmap(scratch, np.float32, "w+", shape=shape)
            stored[done : done + len(features)] = features
            done += len(features)
            answers.append(model.task.profile(logits))
    rows = np.flatnonzero(reference)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_FITTED)).astype(np.int64)]
    projection = fit_projection(stored[rows])
    components = [
        _components(stored[start : start + BLOCK], projection) for start in range(0, done, BLOCK)
    ]
    columns = [image_features(images)]
    columns += [pd.concat(parts, ignore_index=True) for parts in (answers, components)]
    return pd.concat(columns, axis=1), projection
