"""What can be right or wrong: an image of a classifier, or an annotated object of a detector.

A samples table holds images. Where a detector is audited, its column ``objects`` says what is on
each image, as JSON: a list in COCO's words (``bbox``: left, top, width and height in pixels of the
audit's image, ``label``: class index, ``area``, ``iscrowd``, ``ignore``) with the object's own
columns for groups under ``columns``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.names import ALARMS

OBJECTS = "objects"
# Label of what is of no class: an image without objects, and an image that is looked at for alarms.
NO_CLASS = -1
# The column of units with the number of their image.
IMAGE = "image"
# A unit's number is that of its image times this, plus its place; alarms have the upper half.
_PLACES = 1 << 20
_ALARMS_FROM = _PLACES // 2
# Columns of an image that its units have in another form.
_NOT_OWN = ("sample_id", "split", "label", "content_hash", "cluster", "name", OBJECTS)


def finds_objects(samples: pd.DataFrame) -> bool:
    """Whether the images of a samples table have annotated objects."""
    return OBJECTS in samples.columns


def objects_of(sample: str) -> list[dict[str, Any]]:
    """Read what is on one image."""
    found: list[dict[str, Any]] = json.loads(sample)
    return found


def counted(each: dict[str, Any]) -> bool:
    """Whether an object is found or lost; crowds and ignored ones are neither."""
    return not (each.get("iscrowd") or each.get("ignore"))


def object_position(unit: int) -> int:
    """Return which of its image's objects a unit is, by its number."""
    return unit % _PLACES


def units_of(
    samples: pd.DataFrame, classes: Sequence[str] = (), alarms: int | None = None
) -> pd.DataFrame:
    """Return one row for everything that can be right or wrong on some images.

    Args:
        samples: The samples table, or rows of it.
        classes: Names of the classes.
        alarms: Most false alarms of a class that count on one image; None looks at objects only.

    Returns:
        ``samples`` itself where images are what is right or wrong. Else a row for each counted
        object and, with ``alarms``, for each image and class, in the order of images: ``sample_id``
        is the unit's own number, ``image`` that of its image, ``cluster`` is the image's cluster or
        the image; the columns of objects stand beside those of their image. A row of an image has
        the label -1, belongs to no group but that of the column ``false_alarms``.

    Examples:
        >>> hat = '[{"bbox": [0, 0, 2, 2], "label": 1, "columns": {"size": "small"}}]'
        >>> image = {"sample_id": [7], "split": "audit", "label": 1, "content_hash": "a"}
        >>> samples = pd.DataFrame({**image, "objects": hat})
        >>> units_of(samples)[["image", "label", "size"]].to_dict("records")
        [{'image': 7, 'label': 1, 'size': 'small'}]
    """
    if not finds_objects(samples):
        return samples
    rows, places = [], []
    for place, (number, text) in enumerate(
        zip(samples["sample_id"], samples[OBJECTS], strict=True)
    ):
        first = int(number) * _PLACES
        found = [
            _object_row(each, first + position)
            for position, each in enumerate(objects_of(text))
            if counted(each)
        ]
        if alarms is not None:
            found += [_alarm_row(name, first + _ALARMS_FROM + i) for i, name in enumerate(classes)]
        rows += found
        places += [place] * len(found)
    units = pd.DataFrame(rows) if rows else pd.DataFrame(columns=["sample_id", "label", "what"])
    return _with_image(units, samples.iloc[places].reset_index(drop=True))


def _object_row(each: dict[str, Any], number: int) -> dict[str, Any]:
    what = json.dumps([each["label"], each["bbox"]])
    return {"sample_id": number, "label": each["label"], "what": what, **each.get("columns", {})}


def _alarm_row(name: str, number: int) -> dict[str, Any]:
    return {"sample_id": number, "label": NO_CLASS, "what": name, ALARMS: name}


def _with_image(units: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Add what is known of the image of each unit; ``what`` tells units of one image apart."""
    hashes = images["content_hash"].astype(str)
    cluster = hashes
    if "cluster" in images:
        cluster = images["cluster"].where(images["cluster"].notna(), hashes)
    own = images.drop(columns=[*_NOT_OWN, *units.columns], errors="ignore")
    # An image that is looked at for alarms is in no group of objects.
    of_object = (units["label"] != NO_CLASS).to_numpy()
    own = own.where(np.broadcast_to(of_object[:, None], own.shape))
    texts = (hashes + " " + units.pop("what")).map(str.encode)
    described = units.assign(
        image=images["sample_id"].to_numpy(),
        split=images["split"].to_numpy(),
        cluster=cluster.to_numpy(),
        content_hash=[hashlib.sha256(each).hexdigest() for each in texts],
    )
    return pd.concat([described, own], axis=1)
