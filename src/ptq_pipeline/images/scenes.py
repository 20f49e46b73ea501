"""Scenes composed of the shipped Fashion-MNIST images: garments of several sizes, clutter, boxes.

A scene has one to six garments, each resized, dimmed and laid over what is there already, on a
background of soft noise with scraps of other garments. The boxes are those of the pixels that were
laid, so they are exact. Every scene has a seed of its own and is the same beside any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.inputs import local_path
from ptq_pipeline.images.idx import read_idx
from ptq_pipeline.tasks.detection import sizes

SIDE = 96
CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
MOST_GARMENTS, MOST_SCRAPS = 6, 5
SMALLEST, LARGEST = 20, 60
# Pixels of a garment that are darker are its background.
INK = 24
MOST_OVERLAP = 0.3


@dataclass(frozen=True)
class Scenes:
    """Images, and where which garment is.

    Attributes:
        images: uint8, shape (scenes, 1, 96, 96).
        document: The same objects in COCO's form, with ``light`` per object and ``scraps`` per
            image.
    """

    images: NDArray[np.uint8]
    document: dict[str, Any]

    def boxes(self) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Return corners (objects, 4) in pixels and classes (objects,) of every scene."""
        found: list[list[tuple[list[float], int]]] = [[] for _ in self.images]
        for each in self.document["annotations"]:
            x, y, width, height = each["bbox"]
            place = each["category_id"] - 1
            found[each["image_id"] - 1].append(([x, y, x + width, y + height], place))
        return [
            (
                np.array([box for box, _ in scene], dtype=np.float32).reshape(-1, 4),
                np.array([place for _, place in scene], dtype=np.int64),
            )
            for scene in found
        ]


def compose(
    garments: NDArray[np.uint8], labels: NDArray[np.integer], count: int, seed: int
) -> Scenes:
    """Compose ``count`` scenes of garments, uint8 of shape (garments, 28, 28).

    >>> one = compose(np.full((1, 28, 28), 200, np.uint8), np.array([3]), count=2, seed=0)
    >>> one.images.shape, {each["category_id"] for each in one.document["annotations"]}
    ((2, 1, 96, 96), {4})
    """
    images = np.empty((count, 1, SIDE, SIDE), dtype=np.uint8)
    described, objects = [], []
    for place in range(count):
        generator = np.random.default_rng([seed, place])
        canvas, scraps = _background(garments, generator)
        laid = _lay(canvas, garments, generator)
        images[place, 0] = canvas.round().astype(np.uint8)
        described.append(
            {
                "id": place + 1,
                "file_name": f"scene_{place:05d}.png",
                "width": SIDE,
                "height": SIDE,
                "scraps": "many" if scraps > MOST_SCRAPS // 2 else "few",
            }
        )
        for garment, (left, top, right, bottom), dim in laid:
            width, height = right - left, bottom - top
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": place + 1,
                    "category_id": int(labels[garment]) + 1,
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "light": "dim" if dim else "bright",
                }
            )
    categories = [{"id": place + 1, "name": name} for place, name in enumerate(CLASSES)]
    document = {"images": described, "annotations": objects, "categories": categories}
    return Scenes(images, document)


def _background(
    garments: NDArray[np.uint8], generator: np.random.Generator
) -> tuple[NDArray[np.float32], int]:
    from PIL import Image

    coarse = generator.uniform(0, 70, (6, 6)).astype(np.float32)
    canvas = np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    canvas = canvas + generator.normal(0, 4, canvas.shape).astype(np.float32)
    scraps = int(generator.integers(MOST_SCRAPS + 1))
    for _ in range(scraps):
        garment = garments[generator.integers(len(garments))]
        side = int(generator.integers(7, 13))
        top, left = generator.integers(28 - side, size=2)
        row, column = generator.integers(SIDE - side, size=2)
        scrap = garment[top : top + side, left : left + side]
        canvas[row : row + side, column : column + side] = scrap * generator.uniform(0.4, 0.9)
    return np.clip(canvas, 0, 255), scraps


def _lay(
    canvas: NDArray[np.float32], garments: NDArray[np.uint8], generator: np.random.Generator
) -> list[tuple[int, tuple[int, int, int, int], bool]]:
    """Lay garments on a canvas; return which one, left, top, right, bottom, and whether dim."""
    from PIL import Image

    laid: list[tuple[int, tuple[int, int, int, int], bool]] = []
    for _ in range(int(generator.integers(1, MOST_GARMENTS + 1))):
        garment = int(generator.integers(len(garments)))
        side = int(generator.integers(SMALLEST, LARGEST + 1))
        top, left = generator.integers(SIDE - side + 1, size=2)
        dim = bool(generator.random() < 0.3)
        light = generator.uniform(0.35, 0.55) if dim else generator.uniform(0.75, 1.0)
        cut = Image.fromarray(garments[garment]).resize((side, side), Image.Resampling.BILINEAR)
        pixels = np.asarray(cut)
        ink = pixels > INK
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        if not len(rows):
            continue
        box = (
            int(left + columns[0]),
            int(top + rows[0]),
            int(left + columns[-1] + 1),
            int(top + rows[-1] + 1),
        )
        if any(_overlap(box, other) > MOST_OVERLAP for _, other, _ in laid):
            continue
        part = canvas[top : top + side, left : left + side]
        part[ink] = pixels[ink] * light
        laid.append((garment, box, dim))
    return laid


def _overlap(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Return the common area over the smaller of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return max(width, 0) * max(height, 0) / min(areas)


class SceneSource:
    """Scenes as an image source: each part is composed of the garments of one pair of idx files.

    Args:
        parts: each with ``images`` and ``labels`` (idx files), ``rows`` (first and last, of the
            garments that are used), ``scenes`` (how many), ``seed`` and ``split``.

    Raises:
        InputError: a part has another setting, or lacks one.
    """

    def __init__(self, parts: Sequence[Mapping[str, Any]]) -> None:
        known = ("images", "labels", "rows", "scenes", "seed", "split")
        tables, arrays = [], []
        for number, part in enumerate(parts):
            if set(part) != set(known):
                raise InputError(
                    f"scenes: part {number} has the settings {sorted(part)}; it takes "
                    f"{', '.join(known)}"
                )
            first, last = part["rows"]
            garments, labels = (
                read_idx(local_path(part[name], name))[first:last] for name in ("images", "labels")
            )
            made = compose(garments, labels, int(part["scenes"]), int(part["seed"]))
            arrays.append(made.images)
            tables.append(_described(made.document).assign(part=number, split=part["split"]))
        self.splits: list[dict[str, float]] = [{} for _ in parts]
        self.left_out: dict[str, int] = {}
        self.table = pd.concat(tables, ignore_index=True)
        self.shape = (1, SIDE, SIDE)
        self._images = np.concatenate(arrays)

    def read(self, position: int) -> NDArray[np.uint8]:
        """Return scene ``position`` as uint8 ``(1, 96, 96)``."""
        found: NDArray[np.uint8] = self._images[position]
        return found


def _described(document: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row a scene: name, scraps, and its objects."""
    names = {each["id"]: each["name"] for each in document["categories"]}
    objects: dict[int, list[dict[str, Any]]] = {each["id"]: [] for each in document["images"]}
    for each in document["annotations"]:
        size = str(sizes(np.array([float(each["area"])]))[0])
        objects[each["image_id"]].append(
            {
                "id": str(each["id"]),
                "bbox": each["bbox"],
                "area": each["area"],
                "label": names[each["category_id"]],
                "columns": {"light": each["light"], "size": size},
            }
        )
    return pd.DataFrame(
        {
            "name": [each["file_name"] for each in document["images"]],
            "scraps": [each["scraps"] for each in document["images"]],
            "objects": list(objects.values()),
        }
    )
