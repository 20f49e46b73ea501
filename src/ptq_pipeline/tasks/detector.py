"""The task of a detector: was this annotated object found, and how many alarms are false?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.units import OBJECTS, counted, objects_of, units_of
from ptq_pipeline.tasks.coco import Annotations, Boxes, Detections
from ptq_pipeline.tasks.detection import Matching, match
from ptq_pipeline.tasks.task import Task

if TYPE_CHECKING:
    from ptq_pipeline.tasks.decoders import Decoder

DECODERS = {"centre_stride": "CentreStride", "yolo": "Yolo", "end_to_end": "EndToEnd"}
SETTINGS = ("decoder", "score", "iou", "alarms")


class Batch(NamedTuple):
    """What was found on so many images."""

    found: Detections
    images: int


@dataclass(frozen=True)
class Detection(Task):
    """Units are annotated objects, and images on which false alarms of a class are counted.

    An object's answer is its class where it is found, and one more than the last class where it is
    not; an image's answer is its number of false alarms of one class.

    Attributes:
        classes: Names of the classes.
        decoding: What makes boxes of the network's output: ``kind`` and the decoder's settings.
        matching: The operating threshold, and the overlap that a match needs.
        alarms: Most false alarms of a class that count on one image; None counts none.
    """

    output_dimensions: ClassVar[int] = 3
    finds_objects: ClassVar[bool] = True

    classes: tuple[str, ...]
    decoding: Mapping[str, Any]
    matching: Matching = field(default_factory=Matching)
    alarms: int | None = None

    @classmethod
    def of(cls, classes: Sequence[str], settings: Mapping[str, Any]) -> Detection:
        """Read the settings ``detector`` of a model: ``decoder``, ``score``, ``iou``, ``alarms``.

        Raises:
            InputError: A setting is unknown or outside its range.
        """
        if unknown := sorted(set(settings) - set(SETTINGS)):
            raise InputError(
                f"detector: there is no setting '{unknown[0]}'; the settings are "
                f"{', '.join(SETTINGS)}"
            )
        decoding = settings.get("decoder")
        if not isinstance(decoding, Mapping) or "kind" not in decoding:
            raise InputError(
                "detector: 'decoder' says what makes boxes of the network's output, such as "
                "{kind: centre_stride, height: 96, width: 96, strides: [8]}"
            )
        alarms = settings.get("alarms")
        if alarms is not None and (not isinstance(alarms, int) or alarms < 1):
            raise InputError(
                f"detector: alarms is {alarms}; give how many false alarms of a class count on "
                "one image, at least 1, or null"
            )
        default = Matching()
        score, iou = (float(settings.get(key, getattr(default, key))) for key in ("score", "iou"))
        found = cls(tuple(classes), dict(decoding), Matching(score, iou), alarms)
        _ = found.decoder
        return found

    @property
    def facts(self) -> Mapping[str, Any]:
        """The settings that it was read from, complete."""
        matching = {"score": self.matching.score, "iou": self.matching.iou}
        return {"decoder": dict(self.decoding), **matching, "alarms": self.alarms}

    @cached_property
    def decoder(self) -> Decoder:
        """What makes boxes of an output, of any score."""
        return _decoder(self.decoding, len(self.classes))

    @cached_property
    def operating(self) -> Decoder:
        """The same of the scores that count: of these a weaker box suppresses none."""
        return replace(self.decoder, least=self.matching.score)

    def check(self, output: NDArray[np.float32], classes: int) -> None:
        """Check that the decoder reads it."""
        self.decoder(output)

    def read(self, output: NDArray[np.float32], rows: NDArray[np.integer]) -> Batch:
        """Return what is found in a batch at the operating threshold."""
        return Batch(self.operating(output), len(output))

    def truth(self, images: pd.DataFrame) -> Annotations:
        """Return what is on images."""
        return annotations_of(images, self.classes)

    def answers(self, read: Sequence[Any], truth: Annotations) -> NDArray[np.int32]:
        """Match what was found with the images' objects."""
        matches = match(truth, joined(read), self.matching)
        rows = np.flatnonzero(~truth.ignored)
        label = truth.boxes.category[rows]
        found = np.where(matches.found[rows], label, len(self.classes))
        if self.alarms is None:
            return found.astype(np.int32)
        # Behind the objects of an image come its alarms, see `units_of`.
        image = np.repeat(np.arange(len(matches.alarms)), len(self.classes))
        order = np.argsort(np.concatenate([truth.boxes.image[rows], image]), kind="stable")
        every = np.concatenate([found, np.minimum(matches.alarms, self.alarms).ravel()])
        return every[order].astype(np.int32)

    def units(self, images: pd.DataFrame) -> pd.DataFrame:
        """Return the objects of images, and the images by class where alarms are counted."""
        return units_of(images, self.classes, self.alarms)

    def profile(self, output: NDArray[np.float32]) -> pd.DataFrame:
        """Return class and score of the surest box, and how near a score is to the threshold.

        Without a box that scores at all the class is -1 and the score 0. The margin is the least
        distance of a box's score from the operating threshold: of such images a box will come or
        go first.
        """
        if not len(output):
            return pd.DataFrame(
                {"predicted": np.zeros(0, np.int64), "confidence": [], "margin": []}
            )
        found = self.decoder(output)
        image, score = found.boxes.image, found.score
        table = pd.DataFrame({"image": image, "score": score, "class": found.boxes.category})
        best = table.sort_values("score", ascending=False, kind="stable").drop_duplicates("image")
        every = best.set_index("image").reindex(range(len(output)))
        near = (table["score"] - self.matching.score).abs().groupby(table["image"]).min()
        return pd.DataFrame(
            {
                "predicted": every["class"].fillna(-1).astype(np.int64).to_numpy(),
                "confidence": every["score"].fillna(0.0).to_numpy(dtype=float),
                "margin": near.reindex(range(len(output)))
                .fillna(self.matching.score)
                .to_numpy(dtype=float),
            }
        )


def _decoder(decoding: Mapping[str, Any], classes: int) -> Decoder:
    from ptq_pipeline.tasks import decoders
    from ptq_pipeline.tasks.torchvision_detectors import AnchorBoxes

    settings = dict(decoding)
    kind = str(settings.pop("kind"))
    for name in ("strides", "size"):
        if name in settings:
            settings[name] = tuple(settings[name])
    try:
        if kind in DECODERS:
            made: Decoder = getattr(decoders, DECODERS[kind])(classes, **settings)
            return made
        # SSD has one class more, the background, in front of the others.
        background = kind.startswith("ssd")
        return AnchorBoxes.of(kind, classes + background, background=background, **settings)
    except TypeError as error:
        raise InputError(
            f"detector: decoder '{kind}' does not take {sorted(settings)} ({error}); see "
            "docs/detection.md"
        ) from None


def joined(read: Sequence[Batch]) -> Detections:
    """Put the detections of batches together; images are numbered on."""
    firsts = np.cumsum([0, *(each.images for each in read)])
    found = [each.found.boxes for each in read]
    none, nowhere = np.zeros(0, np.int64), np.zeros((0, 4))
    images = [each.image + first for each, first in zip(found, firsts, strict=False)]
    return Detections(
        Boxes(
            np.concatenate([none, *images]),
            np.concatenate([none, *(each.category for each in found)]),
            np.concatenate([nowhere, *(each.corners for each in found)]),
        ),
        np.concatenate([np.zeros(0), *(each.found.score for each in read)]),
    )


def annotations_of(images: pd.DataFrame, classes: Sequence[str]) -> Annotations:
    """Return what is on images of the samples table, in their order."""
    found = [
        (place, each) for place, text in enumerate(images[OBJECTS]) for each in objects_of(text)
    ]
    sides = np.array([each["bbox"] for _, each in found], dtype=np.float64).reshape(-1, 4)
    corners = np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], axis=1)
    boxes = Boxes(
        np.array([place for place, _ in found], dtype=np.int64),
        np.array([each["label"] for _, each in found], dtype=np.int64),
        corners,
    )
    area = np.array([each.get("area", np.nan) for _, each in found], dtype=np.float64)
    return Annotations(
        images=pd.DataFrame({"image_id": images["sample_id"].astype(str).to_numpy()}),
        categories=tuple(classes),
        category_ids=tuple(range(len(classes))),
        objects=pd.DataFrame({"object_id": [str(each.get("id", "")) for _, each in found]}),
        boxes=boxes,
        area=np.where(np.isfinite(area), area, boxes.area),
        crowd=np.array([bool(each.get("iscrowd")) for _, each in found], dtype=bool),
        ignored=np.array([not counted(each) for _, each in found], dtype=bool),
    )
