"""From what a detector's network returns to boxes with scores, in float, the same every time.

Only the network is quantized; what is here runs after it, whichever runtime executed it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import batched_nms

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.tasks.coco import Boxes, Detections


@dataclass(frozen=True)
class Candidates:
    """Boxes of one image before suppression: corners (boxes, 4), scores, classes."""

    corners: NDArray[np.float32]
    score: NDArray[np.float32]
    category: NDArray[np.int64]


@dataclass(frozen=True)
class Decoder(ABC):
    """What makes detections of a network's output.

    Attributes:
        classes: Number of classes.
        least: Scores below it are dropped; not the operating threshold, which is `Matching.score`.
        suppression: Overlap from which the weaker of two boxes of a class is dropped.
    """

    classes: int
    least: float = 0.05
    suppression: float = 0.6

    def __call__(self, output: NDArray[np.float32]) -> Detections:
        """Decode an output, float32, one row an image; images are numbered from 0.

        Raises:
            InputError: The shape is not what this decoder reads, or a value is not finite.
        """
        self._check(output)
        found = [self._suppressed(self._candidates(each)) for each in output]
        counts = [len(each.score) for each in found]
        corners = [each.corners for each in found]
        return Detections(
            Boxes(
                image=np.repeat(np.arange(len(found), dtype=np.int64), counts),
                category=np.concatenate([each.category for each in found]),
                corners=np.concatenate(corners).astype(np.float64),
            ),
            np.concatenate([each.score for each in found]).astype(np.float64),
        )

    @property
    @abstractmethod
    def shape(self) -> tuple[int | None, ...]:
        """Shape of one image's output; None where any length will do."""

    @abstractmethod
    def _candidates(self, output: NDArray[np.float32]) -> Candidates:
        """Return the boxes of one image that score enough."""

    def _suppressed(self, found: Candidates) -> Candidates:
        kept = batched_nms(
            torch.from_numpy(np.ascontiguousarray(found.corners)),
            torch.from_numpy(np.ascontiguousarray(found.score)),
            torch.from_numpy(np.ascontiguousarray(found.category)),
            self.suppression,
        ).numpy()
        return Candidates(found.corners[kept], found.score[kept], found.category[kept])

    def _check(self, output: NDArray[np.float32]) -> None:
        wanted, given = self.shape, output.shape[1:]
        fits = len(wanted) == len(given) and all(
            side in (None, found) for side, found in zip(wanted, given, strict=True)
        )
        if not fits or not len(output):
            sides = ", ".join("any" if side is None else str(side) for side in wanted)
            raise InputError(
                f"the detector's output has shape {tuple(output.shape)}, and decoder "
                f"{type(self).__name__} of {self.classes} classes reads (images, {sides}); choose "
                "another decoder or another number of classes"
            )
        if not np.isfinite(output).all():
            raise InputError("the detector returns values that are not finite; check its weights")


@dataclass(frozen=True)
class CentreStride(Decoder):
    """Anchor-free maps: per place the distances to the four sides, and a logit a class.

    Tian et al., FCOS: Fully Convolutional One-Stage Object Detection, ICCV 2019, without
    centre-ness. A place at row i and column j of a map of stride s is the pixel ((j + 0.5) s,
    (i + 0.5) s); its four values d are distances exp(d) s to the left, top, right and bottom.
    An image's output is (places of all maps, 4 + classes), map after map, row by row.

    Attributes:
        height: Of the images in pixels; ``width`` likewise.
        strides: Of the maps.
    """

    height: int = 0
    width: int = 0
    strides: tuple[int, ...] = (8,)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Places and 4 + classes."""
        return (len(self._places), 4 + self.classes)

    def places(self) -> NDArray[np.float32]:
        """Return x, y and stride of every place, float32, shape (places, 3)."""
        maps = []
        for stride in self.strides:
            rows, columns = np.indices((self.height // stride, self.width // stride)) + 0.5
            y, x = rows * stride, columns * stride
            maps.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
        return np.concatenate(maps).astype(np.float32)

    @cached_property
    def _places(self) -> NDArray[np.float32]:
        return self.places()

    def _candidates(self, output: NDArray[np.float32]) -> Candidates:
        places = self._places
        scores = _sigmoid(output[:, 4:])
        place, category = np.nonzero(scores >= self.least)
        x, y, stride = places[place].T
        # A distance beyond any image says no more.
        far = np.exp(np.minimum(output[place, :4], 10.0)) * stride[:, None]
        corners = np.stack([x - far[:, 0], y - far[:, 1], x + far[:, 2], y + far[:, 3]], axis=1)
        corners = np.clip(corners, 0, [self.width, self.height, self.width, self.height])
        corners = corners.astype(np.float32)
        return Candidates(corners, scores[place, category], category.astype(np.int64))


@dataclass(frozen=True)
class Yolo(Decoder):
    """A map without anchors as YOLOv8 exports it: (4 + classes, places).

    The first four rows are the centre, width and height of a box in pixels, the others are
    probabilities. Suppression comes after it.
    """

    @property
    def shape(self) -> tuple[int | None, ...]:
        """4 + classes, and any number of places."""
        return (4 + self.classes, None)

    def _candidates(self, output: NDArray[np.float32]) -> Candidates:
        boxes, scores = output[:4].T, output[4:].T
        place, category = np.nonzero(scores >= self.least)
        centre, half = boxes[place, :2], boxes[place, 2:] / 2
        corners = np.concatenate([centre - half, centre + half], axis=1)
        return Candidates(corners, scores[place, category], category.astype(np.int64))


@dataclass(frozen=True)
class EndToEnd(Decoder):
    """Rows of left, top, right, bottom, score and class, suppressed by the network itself."""

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Any number of boxes, six values each."""
        return (None, 6)

    def _candidates(self, output: NDArray[np.float32]) -> Candidates:
        kept = output[output[:, 4] >= self.least]
        category = np.rint(kept[:, 5]).astype(np.int64)
        if len(kept) and not (0 <= category.min() <= category.max() < self.classes):
            raise InputError(
                f"the detector finds class {int(category.max())}, and there are {self.classes}, "
                "numbered from 0; check the number of classes"
            )
        return Candidates(kept[:, :4], kept[:, 4], category)

    def _suppressed(self, found: Candidates) -> Candidates:
        return found


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return torch.from_numpy(np.ascontiguousarray(logits)).sigmoid().numpy()
