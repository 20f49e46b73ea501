"""Annotated objects and detections in COCO's JSON form, checked and read into tables.

The form: https://cocodataset.org/#format-data and https://cocodataset.org/#format-results.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.inputs import read_regular

# Share of boxes that may be unusable, as for images that cannot be read.
MOST_UNUSABLE = 0.01
_NAMED = 5
_IMAGE = ("id", "width", "height")
_OBJECT = ("id", "image_id", "category_id", "bbox")
_DETECTION = ("image_id", "category_id", "bbox", "score")
# What COCO itself says of an image and of an object; other columns are columns of the user's.
_OF_IMAGE = (*_IMAGE, "file_name", "license", "date_captured", "coco_url", "flickr_url")
_OF_OBJECT = (*_OBJECT, "area", "iscrowd", "ignore", "difficult", "segmentation", "keypoints")


@dataclass(frozen=True)
class Boxes:
    """Rectangles on images, one a row.

    Attributes:
        image: Position of the image among all images, int64, shape (boxes,).
        category: Position of the class among all classes, int64, shape (boxes,).
        corners: Left, top, right and bottom in pixels, float64, shape (boxes, 4).
    """

    image: NDArray[np.int64]
    category: NDArray[np.int64]
    corners: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.image)

    @cached_property
    def area(self) -> NDArray[np.float64]:
        """Area in square pixels, float64, shape (boxes,)."""
        sides = self.corners[:, 2:] - self.corners[:, :2]
        return sides[:, 0] * sides[:, 1]


@dataclass(frozen=True)
class Detections:
    """What a detector found.

    Attributes:
        boxes: The rectangles.
        score: Confidence in [0, 1], float64, shape (boxes,).
    """

    boxes: Boxes
    score: NDArray[np.float64]


@dataclass(frozen=True)
class Annotations:
    """Images, classes and annotated objects.

    Attributes:
        images: One row an image: ``image_id`` (text) and the user's columns.
        categories: Names of the classes.
        category_ids: Their numbers in the file, in the same order.
        objects: One row an object: ``object_id`` (text) and the user's columns.
        boxes: The objects' rectangles.
        area: Square pixels that an object covers, by its mask where the file has one, else by its
            box; float64, shape (objects,).
        crowd: Whether a rectangle is for many objects, bool, shape (objects,).
        ignored: Whether an object counts neither as found nor as lost: crowds, difficult objects
            and boxes without an area; bool, shape (objects,).
        unusable: One sentence a box that has no area within its image.
        files: Names of the images' files; none where the annotations name none.
        sizes: Width and height of the images in pixels, float64, shape (images, 2).
    """

    images: pd.DataFrame
    categories: tuple[str, ...]
    category_ids: tuple[int, ...]
    objects: pd.DataFrame
    boxes: Boxes
    area: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    unusable: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    sizes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))


def read_annotations(path: Path) -> Annotations:
    """Read a file of COCO annotations (the form of ``instances_val2017.json``).

    Raises:
        InputError: The file is no such JSON, a number is given twice, an object is on no image or
            of no class, or more than one box in a hundred has no area within its image.
    """
    return annotations_in(_document(path), path)


def annotations_in(document: Any, path: Path) -> Annotations:
    """Read annotations in COCO's form; ``path`` is what errors call them, see `read_annotations`.

    Raises:
        InputError: As for `read_annotations`.
    """
    if not isinstance(document, dict):
        raise InputError(
            f"'{path}' holds a list, and annotations are an object with 'images', 'annotations' "
            "and 'categories'; a list is the form of detections"
        )
    images = _records(document, "images", _IMAGE, path)
    objects = _records(document, "annotations", _OBJECT, path)
    categories = _records(document, "categories", ("id", "name"), path)
    if images.empty or categories.empty:
        raise InputError(f"'{path}' has no images or no categories; nothing can be judged on it")
    for table, name in ((images, "images"), (objects, "annotations"), (categories, "categories")):
        _check_once(table["id"], f"'{path}': 'id' of '{name}'")
    _check_once(categories["name"], f"'{path}': 'name' of 'categories'")
    boxes = _boxes(objects, images["id"], categories["id"], path)
    unusable = _unusable(boxes, images[["width", "height"]].to_numpy(dtype=float))
    sentences = tuple(
        f"annotation {objects['id'].iloc[each]} on image {objects['image_id'].iloc[each]} has no "
        f"area within the image (bbox {objects['bbox'].iloc[each]})"
        for each in np.flatnonzero(unusable)
    )
    if len(sentences) > MOST_UNUSABLE * max(len(boxes), 1):
        raise InputError(
            f"'{path}': {len(sentences)} of {len(boxes)} boxes cannot be used, more than "
            f"{MOST_UNUSABLE:.0%}: {'; '.join(sentences[:_NAMED])}; correct the file"
        )
    crowd = _flags(objects, ("iscrowd",))
    return Annotations(
        images=_own_columns(images, "image_id", _OF_IMAGE),
        categories=tuple(map(str, categories["name"])),
        category_ids=tuple(map(int, categories["id"])),
        objects=_own_columns(objects, "object_id", _OF_OBJECT),
        boxes=boxes,
        area=_areas(objects, boxes),
        crowd=crowd,
        ignored=crowd | unusable | _flags(objects, ("ignore", "difficult")),
        unusable=sentences,
        files=tuple(map(str, images["file_name"])) if "file_name" in images else (),
        sizes=images[["width", "height"]].to_numpy(dtype=float),
    )


def read_detections(path: Path, annotations: Annotations) -> Detections:
    """Read a detector's results in COCO's form, a list of boxes with scores.

    Raises:
        InputError: The file is no such list, or a box is on no image, of no class, without four
            finite numbers or with a score outside [0, 1].
    """
    document = _document(path)
    if not isinstance(document, list):
        raise InputError(
            f"'{path}' holds no list, and detections are a list of objects with "
            f"{', '.join(_DETECTION)}"
        )
    found = _records({"detections": document}, "detections", _DETECTION, path)
    score = pd.to_numeric(found["score"], errors="coerce").to_numpy(dtype=float)
    wrong = ~((score >= 0) & (score <= 1))
    if wrong.any():
        raise InputError(
            f"'{path}': {int(wrong.sum())} of {len(score)} scores are outside [0, 1], the first "
            f"is {found['score'].iloc[int(wrong.argmax())]}; write probabilities"
        )
    ids = annotations.images["image_id"]
    numbers = pd.Series(annotations.category_ids)
    return Detections(_boxes(found, ids, numbers, path), score)


def _document(path: Path) -> Any:
    try:
        content = read_regular(path)
    except OSError as error:
        raise InputError(
            f"'{path}' cannot be read: {error.strerror}; give the path of a file"
        ) from error
    try:
        return json.loads(content)
    except ValueError as error:
        raise InputError(f"'{path}' is no JSON ({error}); write it again") from None


def _records(
    document: dict[str, Any], name: str, needed: Sequence[str], path: Path
) -> pd.DataFrame:
    records = document.get(name)
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise InputError(f"'{path}' has no list '{name}' of objects; is it in COCO's form?")
    table = pd.DataFrame.from_records(records)
    if not records:
        return pd.DataFrame({column: pd.Series(dtype=object) for column in needed})
    missing = [each for each in needed if each not in table or bool(table[each].isna().any())]
    if missing:
        raise InputError(f"'{path}': '{missing[0]}' is missing in '{name}', at least once; add it")
    return table


def _check_once(values: pd.Series, what: str) -> None:
    twice = values[values.duplicated()]
    if len(twice):
        raise InputError(f"{what} {twice.iloc[0]} is given twice; each must be there once")


def _boxes(table: pd.DataFrame, images: pd.Series, categories: pd.Series, path: Path) -> Boxes:
    sides = [len(each) if isinstance(each, list) else 0 for each in table["bbox"]]
    if any(side != 4 for side in sides):
        row = next(place for place, side in enumerate(sides) if side != 4)
        raise InputError(
            f"'{path}': 'bbox' {table['bbox'].iloc[row]} is not [x, y, width, height]; correct it"
        )
    try:
        corners = np.array(table["bbox"].tolist(), dtype=float).reshape(-1, 4)
    except (TypeError, ValueError):
        corners = np.full((len(table), 4), np.nan)
    if not np.isfinite(corners).all():
        raise InputError(f"'{path}': a 'bbox' holds what is no finite number; correct it")
    corners[:, 2:] += corners[:, :2]
    return Boxes(
        image=_positions(table["image_id"], images, f"'{path}': 'image_id'"),
        category=_positions(table["category_id"], categories, f"'{path}': 'category_id'"),
        corners=corners,
    )


def _positions(values: pd.Series, known: pd.Series, what: str) -> NDArray[np.int64]:
    positions = pd.Index(known.astype(str)).get_indexer(pd.Index(values.astype(str)))
    unknown = positions < 0
    if unknown.any():
        raise InputError(
            f"{what} {values.iloc[int(unknown.argmax())]} is unknown to the annotations, and "
            f"{int(unknown.sum())} of {len(values)} boxes have such a one; both files must speak "
            "of the same images and classes"
        )
    return positions.astype(np.int64)


def _unusable(boxes: Boxes, sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which boxes have no area within their image, bool, shape (boxes,)."""
    low = np.maximum(boxes.corners[:, :2], 0)
    high = np.minimum(boxes.corners[:, 2:], sizes[boxes.image])
    return np.any(high <= low, axis=1)


def _flags(objects: pd.DataFrame, names: Sequence[str]) -> NDArray[np.bool_]:
    flags = np.zeros(len(objects), dtype=bool)
    for name in names:
        if name in objects:
            flags |= objects[name].fillna(0).astype(bool).to_numpy()
    return flags


def _areas(objects: pd.DataFrame, boxes: Boxes) -> NDArray[np.float64]:
    if "area" not in objects:
        return boxes.area
    said = pd.to_numeric(objects["area"], errors="coerce").to_numpy(dtype=float)
    return np.where(np.isfinite(said), said, boxes.area)


def _own_columns(table: pd.DataFrame, name: str, known: Sequence[str]) -> pd.DataFrame:
    """Return the number as text, and the columns that hold one plain value a row."""
    own = [
        column
        for column in table.columns
        if column not in known and table[column].map(np.isscalar).all()
    ]
    return table[own].assign(**{name: table["id"].astype(str)})[[name, *own]]
