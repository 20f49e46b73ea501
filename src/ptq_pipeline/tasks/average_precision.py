"""Average precision per class, computed by pycocotools: descriptive, nothing is judged by it."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.tasks.coco import Annotations, Boxes, Detections


def average_precision(annotations: Annotations, detections: Detections) -> pd.DataFrame:
    """Return mAP@.5 and mAP@[.5:.95] of every class, as COCO defines them.

    Returns:
        One row a class: ``class``, ``ap50``, ``ap``, fractions; NaN for a class without objects.

    Raises:
        InputError: pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise InputError(
            "average precision needs pycocotools; install ptq-pipeline[detection]"
        ) from None
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = _dataset(annotations)
        truth.createIndex()
        found = COCO()
        found.dataset = {**truth.dataset, "annotations": _found(detections)}
        found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    # Thresholds of overlap x recalls x classes; all sizes, at most 100 detections.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    known = np.where(precision < 0, np.nan, precision)
    empty = np.isnan(known).all(axis=(0, 1))
    known[:, :, empty] = 0.0
    ap, ap50 = known.mean(axis=(0, 1)), known[0].mean(axis=0)
    return pd.DataFrame(
        {
            "class": annotations.categories,
            "ap50": np.where(empty, np.nan, ap50),
            "ap": np.where(empty, np.nan, ap),
        }
    )


def _dataset(annotations: Annotations) -> dict[str, Any]:
    images, classes = len(annotations.images), len(annotations.categories)
    objects = [
        {**box, "id": place + 1, "area": float(area), "iscrowd": int(ignored)}
        for place, (box, area, ignored) in enumerate(
            zip(_rows(annotations.boxes), annotations.area, annotations.ignored, strict=True)
        )
    ]
    return {
        "images": [{"id": each} for each in range(images)],
        "categories": [{"id": each} for each in range(classes)],
        "annotations": objects,
    }


def _found(detections: Detections) -> list[dict[str, Any]]:
    area = detections.boxes.area
    return [
        {**box, "id": place + 1, "score": float(score), "area": float(area[place]), "iscrowd": 0}
        for place, (box, score) in enumerate(
            zip(_rows(detections.boxes), detections.score, strict=True)
        )
    ]


def _rows(boxes: Boxes) -> list[dict[str, Any]]:
    sides = boxes.corners.copy()
    sides[:, 2:] -= sides[:, :2]
    return [
        {"image_id": int(image), "category_id": int(category), "bbox": box}
        for image, category, box in zip(boxes.image, boxes.category, sides.tolist(), strict=True)
    ]
