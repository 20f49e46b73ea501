"""Was this annotated object found? Matching of detections to objects, and the outcomes of it.

mAP is a property of a whole data set and cannot be tested image by image. Whether a detector finds
an object at the score at which it works in production can be: each object is right or lost, objects
of one image are one cluster, and the paired tests that judge classifiers judge detectors too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.tasks.coco import Annotations, Boxes, Detections

# COCO's own border between sizes, in square pixels.
SMALL, MEDIUM = 32.0**2, 96.0**2
SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class Matching:
    """When a detection is a match.

    Attributes:
        score: The operating threshold: detections below it do not exist, in [0, 1].
        iou: Least intersection over union, in (0, 1].
        most: Detections of one class on one image that count, those of highest score.

    Raises:
        InputError: A value is outside its range.
    """

    score: float = 0.5
    iou: float = 0.5
    most: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:
            raise InputError(f"score is {self.score}; the operating threshold is within [0, 1]")
        if not 0 < self.iou <= 1:
            raise InputError(f"iou is {self.iou}; it is above 0 and at most 1")
        if self.most < 1:
            raise InputError(f"most is {self.most}; at least one detection an image must count")


@dataclass(frozen=True)
class Matches:
    """What became of objects and detections.

    Attributes:
        found: Whether an object is matched, bool, shape (objects,).
        alarms: Detections that match nothing, int64, shape (images, classes).
    """

    found: NDArray[np.bool_]
    alarms: NDArray[np.int64]


def match(annotations: Annotations, detections: Detections, matching: Matching) -> Matches:
    """Match detections one to one with the objects of their class and image, as COCO does.

    In the order of their scores, each detection takes the free object that it overlaps most, if
    that is at least ``matching.iou``. Ignored objects are taken last, and what takes one is no
    false alarm; a crowd can be taken by many, and its overlap is measured on the detection's
    area. Source: ``evaluateImg`` of pycocotools, whose matches are the same.
    """
    kept = _operating(detections, matching)
    pairs = _pairs(annotations, kept.boxes, matching.iou)
    taken = _take(pairs, annotations, len(kept.boxes))
    alarms = np.zeros((len(annotations.images), len(annotations.categories)), dtype=np.int64)
    free = taken < 0
    np.add.at(alarms, (kept.boxes.image[free], kept.boxes.category[free]), 1)
    found = np.zeros(len(annotations.boxes), dtype=bool)
    found[taken[~free]] = True
    return Matches(found, alarms)


def classes_of_places(
    annotations: Annotations, detections: Detections, matching: Matching
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the class of objects, and what a detector calls what it finds there, int64.

    Only objects that some detection overlaps enough, whatever its class, are among them.
    """
    boxes = annotations.boxes
    kept = _operating(detections, matching)
    one = np.zeros_like(boxes.category)
    places = replace(annotations, boxes=replace(boxes, category=one), categories=("any",))
    found = replace(kept.boxes, category=np.zeros_like(kept.boxes.category))
    # From the highest score, as one class has them.
    order = np.lexsort((-kept.score, found.image))
    found = Boxes(found.image[order], found.category[order], found.corners[order])
    taken = _take(_pairs(places, found, matching.iou), places, len(found))
    hit = np.flatnonzero(taken >= 0)
    hit = hit[~annotations.ignored[taken[hit]]]
    return boxes.category[taken[hit]], kept.boxes.category[order][hit]


def sweep(annotations: Annotations, detections: Detections, matching: Matching) -> pd.DataFrame:
    """Return what a detector finds at other operating thresholds; no claim is made about it.

    Choose a threshold on images that nothing is judged on.

    Returns:
        ``score``, ``recall``, ``precision`` and ``f1`` at every twentieth in (0, 1).
    """
    counted = ~annotations.ignored
    rows = []
    for score in np.arange(1, 20) / 20:
        matches = match(annotations, detections, replace(matching, score=float(score)))
        found, alarms = int(matches.found[counted].sum()), int(matches.alarms.sum())
        lost = int(counted.sum()) - found
        rows.append(
            {
                "score": float(score),
                "recall": found / max(found + lost, 1),
                "precision": found / max(found + alarms, 1),
                "f1": 2 * found / max(2 * found + alarms + lost, 1),
            }
        )
    return pd.DataFrame(rows)


def object_outcomes(
    annotations: Annotations, reference: Matches, quantized: Matches
) -> pd.DataFrame:
    """Return one row an object: was it found by the float and by the quantized detector?

    Args:
        annotations: The objects; ignored ones have no row.
        reference: What the float detector found.
        quantized: What the quantized detector found.

    Returns:
        ``unit_id``, ``sample_id``, ``cluster`` (the image), ``label`` (the class), ``size``,
        columns of images and objects, ``float_ok``, ``quantized_ok`` (0 or 1).
    """
    rows = np.flatnonzero(~annotations.ignored)
    image = annotations.boxes.image[rows]
    images = annotations.images.iloc[image].reset_index(drop=True)
    objects = annotations.objects.iloc[rows].reset_index(drop=True)
    own = objects.drop(columns="object_id")
    described = pd.DataFrame(
        {
            "unit_id": objects["object_id"],
            "sample_id": images["image_id"],
            "cluster": images["image_id"],
            "label": np.asarray(annotations.categories)[annotations.boxes.category[rows]],
            "size": sizes(annotations.area[rows]),
        }
    )
    columns = images.drop(columns=["image_id", *own.columns], errors="ignore")
    return pd.concat([described, columns, own], axis=1).assign(
        float_ok=reference.found[rows].astype(np.int8),
        quantized_ok=quantized.found[rows].astype(np.int8),
    )


def alarm_outcomes(
    annotations: Annotations, reference: Matches, quantized: Matches, cap: int
) -> pd.DataFrame:
    """Return one row an image and class: how free of false alarms are both detectors?

    The score of an image is 1 - min(alarms, cap) / cap, so a drop of d is ``cap`` times d added
    false alarms an image. Without a cap no bound on a mean of a few images exists.

    Args:
        annotations: The images, also those without objects.
        reference: False alarms of the float detector.
        quantized: False alarms of the quantized detector.
        cap: Alarms of one class on one image beyond which an image cannot become worse.

    Raises:
        InputError: ``cap`` is below 1.
    """
    if cap < 1:
        raise InputError(f"cap is {cap}; an image must be able to have at least one false alarm")
    shape = reference.alarms.shape
    image, category = np.indices(shape).reshape(2, -1)
    ids = annotations.images["image_id"].to_numpy()[image]
    names = np.asarray(annotations.categories)[category]

    def score(matches: Matches) -> NDArray[np.float64]:
        return 1 - np.minimum(matches.alarms, cap).ravel() / cap

    return pd.DataFrame(
        {
            "unit_id": [f"{one}/{name}" for one, name in zip(ids, names, strict=True)],
            "sample_id": ids,
            "cluster": ids,
            "label": names,
            "float_ok": score(reference),
            "quantized_ok": score(quantized),
        }
    )


def sizes(area: NDArray[np.float64]) -> NDArray[np.str_]:
    """Name the size of objects as COCO does, by their area in square pixels.

    >>> sizes(np.array([100.0, 1024.0, 9216.0])).tolist()
    ['small', 'medium', 'large']
    """
    return np.asarray(SIZES)[np.digitize(area, [SMALL, MEDIUM])]


def _operating(detections: Detections, matching: Matching) -> Detections:
    """Return the detections that count, by image and class and then from the highest score."""
    boxes, score = detections.boxes, detections.score
    classes = int(boxes.category.max(initial=0)) + 1
    key = boxes.image * classes + boxes.category
    order = np.lexsort((-score, key))
    order = order[score[order] >= matching.score]
    key = key[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    rank = np.arange(len(key)) - np.repeat(starts, np.diff(starts, append=len(key)))
    order = order[rank < matching.most]
    kept = Boxes(boxes.image[order], boxes.category[order], boxes.corners[order])
    return Detections(kept, score[order])


@dataclass(frozen=True)
class _Pairs:
    """Detections and objects that overlap enough; one row a pair, in the order of detections."""

    detection: NDArray[np.int64]
    unit: NDArray[np.int64]
    iou: NDArray[np.float64]


def _pairs(annotations: Annotations, found: Boxes, least: float) -> _Pairs:
    boxes = annotations.boxes
    classes = len(annotations.categories)
    left = pd.DataFrame({"key": found.image * classes + found.category, "d": np.arange(len(found))})
    right = pd.DataFrame(
        {"key": boxes.image * classes + boxes.category, "u": np.arange(len(boxes))}
    )
    both = left.merge(right, on="key", sort=False)
    detection, unit = both["d"].to_numpy(), both["u"].to_numpy()
    iou = _overlap(found, boxes, detection, unit, annotations.crowd[unit])
    # The same tolerance as pycocotools.
    near = iou >= min(least, 1 - 1e-10)
    detection, unit, iou = detection[near], unit[near], iou[near]
    # Best first; of equal ones the last in the file, as pycocotools takes it.
    order = np.lexsort((-unit, -iou, annotations.ignored[unit], detection))
    return _Pairs(detection[order], unit[order], iou[order])


def _overlap(
    found: Boxes,
    objects: Boxes,
    detection: NDArray[np.int64],
    unit: NDArray[np.int64],
    crowd: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return intersection over union of pairs, over the detection's area for crowds."""
    one, other = found.corners[detection], objects.corners[unit]
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    common = np.where((sides > 0).all(axis=1), sides[:, 0] * sides[:, 1], 0.0)
    area = found.area[detection]
    whole = np.where(crowd, area, area + objects.area[unit] - common)
    return np.divide(common, whole, out=np.zeros_like(common), where=whole > 0)


def _take(pairs: _Pairs, annotations: Annotations, detections: int) -> NDArray[np.int64]:
    """Return the object that each detection takes, -1 for none; int64, shape (detections,)."""
    taken = np.full(detections, -1, dtype=np.int64)
    free = np.ones(len(annotations.boxes), dtype=bool)
    crowd = annotations.crowd
    for detection, unit in zip(pairs.detection.tolist(), pairs.unit.tolist(), strict=True):
        if taken[detection] < 0 and free[unit]:
            taken[detection] = unit
            free[unit] = crowd[unit]
    return taken
