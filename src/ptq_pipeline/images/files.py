"""Image sources of single files: an ``ImageFolder`` and a CSV or parquet manifest."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ptq_pipeline.errors import InputError
from ptq_pipeline.images.source import UnreadableImage

MODES = {1: "L", 3: "RGB"}
SUFFIXES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


class FileSource:
    """Images that stand in single files, decoded with Pillow.

    Every image is turned upright by its EXIF orientation, converted to one or three channels, and
    resized so that its shorter side fits, then cropped at the centre.

    Args:
        table: columns ``path``, ``label`` and whatever else the manifest holds.
        shape: ``(C, H, W)`` to decode to.
        splits: weights for rows without a split.
    """

    def __init__(
        self, table: pd.DataFrame, shape: tuple[int, int, int], splits: Mapping[str, float] | None
    ) -> None:
        if shape[0] not in MODES:
            raise InputError(f"images can be decoded to 1 or 3 channels, not {shape[0]}")
        self.shape = shape
        self.splits = [dict(splits or {})]
        self._paths = [Path(path) for path in table["path"]]
        self.table = table.drop(columns="path").assign(
            name=[str(path) for path in self._paths], part=0
        )

    def read(self, position: int) -> np.ndarray:
        """Return image ``position`` as uint8 ``(C, H, W)``."""
        from PIL import Image, ImageOps

        channels, height, width = self.shape
        path = self._paths[position]
        try:
            with Image.open(path) as stored:
                if stored.mode.startswith(("I", "F")):
                    raise UnreadableImage(
                        f"'{path}' has more than 8 bits per channel (mode {stored.mode}); "
                        "convert it to 8 bits"
                    )
                upright = ImageOps.exif_transpose(stored).convert(MODES[channels])
                fitted = ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR)
                pixels = np.asarray(fitted, np.uint8)
        except UnreadableImage:
            raise
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UnreadableImage(f"'{path}' cannot be decoded ({error})") from error
        return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def image_folder(
    root: Path, shape: tuple[int, int, int], splits: Mapping[str, float] | None
) -> FileSource:
    """Read the layout of ``torchvision.datasets.ImageFolder``: ``root/<class name>/**/<image>``.

    Raises:
        InputError: if the folder is missing or holds no image.
    """
    if not root.is_dir():
        raise InputError(f"image folder '{root}' does not exist; check the image source")
    rows = [
        {"path": path, "label": path.relative_to(root).parts[0]}
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.parent != root
    ]
    if not rows:
        raise InputError(f"image folder '{root}' holds no image in a class folder")
    return FileSource(pd.DataFrame(rows), shape, splits)


def manifest(
    path: Path, shape: tuple[int, int, int], splits: Mapping[str, float] | None
) -> FileSource:
    """Read a CSV or parquet manifest with ``path``, ``label`` and any further columns.

    Relative image paths are taken from the manifest's folder and may not leave it.

    Raises:
        InputError: if the manifest is missing, damaged or lacks a column, or a path leaves it.
    """
    if not path.is_file():
        raise InputError(f"manifest '{path}' does not exist; check the image source")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except Exception as error:
        raise InputError(f"manifest '{path}' cannot be read: {error}") from error
    for column in ("path", "label"):
        if column not in table:
            raise InputError(
                f"manifest '{path}' has no column '{column}'; it has {list(table.columns)}"
            )
    root = path.parent.resolve()
    full = [(root / str(entry)).resolve() for entry in table["path"]]
    for entry in full:
        if not entry.is_relative_to(root):
            raise InputError(
                f"manifest '{path}': image path '{entry}' leaves the manifest's folder; "
                "put the images below it"
            )
    return FileSource(table.assign(path=full), shape, splits)
