"""Image sources with annotated objects: COCO's form, and folders in VOC's and YOLO's, read into it.

Boxes follow their image into the decoded one: letterboxed, or stretched.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.decoding import Decoding
from ptq_pipeline.images.files import DEFAULT_SPLITS, paths_below
from ptq_pipeline.tasks.coco import Annotations
from ptq_pipeline.tasks.detection import sizes

log = logging.getLogger(__name__)
NAMED = 5
SIZE = "size"


@dataclass(frozen=True)
class Layout:
    """How a source of annotated images is read.

    Attributes:
        folder: where the image files are.
        decoding: how files become pixels; ``letterbox`` or ``stretch``.
        splits: weights for images whose column ``split`` says nothing.
        object_size: groups of objects by size: ``coco`` (small, medium and large by the area in
            pixels of the file), ``quantiles`` of the pool, or none.
        allow_outside: whether files may be outside the folder.
    """

    folder: Path
    decoding: Decoding
    splits: Mapping[str, float] | None = None
    object_size: Literal["coco", "quantiles"] | None = "coco"
    allow_outside: bool = False


class AnnotatedSource:
    """Images with the objects on them, decoded with Pillow.

    Args:
        annotations: what is on which file, checked.
        layout: how the files are read.
        what: what errors call the annotations.

    Raises:
        InputError: a file is not named, named twice or outside the folder, or the fit would cut
            objects off.
    """

    def __init__(self, annotations: Annotations, layout: Layout, what: str) -> None:
        if layout.decoding.fit == "crop":
            raise InputError(
                "the image source has annotated objects, and fit 'crop' would cut some off; set "
                "fit: letterbox or fit: stretch"
            )
        if not annotations.files:
            raise InputError(f"{what} names no image files ('file_name'); add it to every image")
        for sentence in annotations.unusable[:NAMED]:
            log.warning("%s: %s; it counts neither as found nor as lost", what, sentence)
        self.shape = layout.decoding.shape
        self.left_out: dict[str, int] = {}
        self._decoding, self._sizes = layout.decoding, annotations.sizes
        entries = pd.Series(annotations.files, dtype=object)
        self._paths = list(
            paths_below(layout.folder, entries, what, allow_outside=layout.allow_outside)
        )
        own = annotations.images.drop(columns="image_id")
        unsaid = {} if "split" in own else DEFAULT_SPLITS
        self.splits = [dict(unsaid if layout.splits is None else layout.splits)]
        self.table = own.assign(
            name=annotations.files, part=0, objects=self._objects(annotations, layout.object_size)
        )

    def read(self, position: int) -> np.ndarray:
        """Return image ``position`` as uint8 ``(C, H, W)``."""
        width, height = self._sizes[position].astype(int)
        return self._decoding.read(self._paths[position], size=(int(width), int(height)))

    def _objects(
        self, annotations: Annotations, object_size: str | None
    ) -> list[list[dict[str, Any]]]:
        """Return what is on each image, in pixels of the decoded images."""
        found: list[list[dict[str, Any]]] = [[] for _ in annotations.files]
        boxes, own = annotations.boxes, annotations.objects.drop(columns="object_id")
        if object_size == "coco":
            own = own.assign(**{SIZE: sizes(annotations.area)})
        elif object_size == "quantiles":
            own = own.assign(**{SIZE: np.sqrt(annotations.area).round(1)})
        columns = own.to_dict("records")
        for row, image in enumerate(boxes.image):
            across, down, left, top = self._decoding.placed(*self._sizes[image])
            x, y, right, bottom = boxes.corners[row]
            found[image].append(
                {
                    "id": annotations.objects["object_id"].iloc[row],
                    "bbox": [
                        *(float(x * across + left), float(y * down + top)),
                        *(float((right - x) * across), float((bottom - y) * down)),
                    ],
                    "area": float(annotations.area[row]),
                    "iscrowd": int(annotations.crowd[row]),
                    "ignore": int(annotations.ignored[row] and not annotations.crowd[row]),
                    "label": annotations.categories[boxes.category[row]],
                    "columns": columns[row],
                }
            )
        return found
