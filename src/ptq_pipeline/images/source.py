"""What every image source offers, decoding it once into one uint8 array, and hashes of pixels."""

import hashlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError


class UnreadableImage(InputError):
    """One image of a source cannot be decoded."""


class ImageSource(Protocol):
    """A table of samples whose pixels are decoded on demand.

    Attributes:
        table: one row per image: ``name`` (what an error message can point to), ``label`` (class
            name or index; may be missing), ``part`` (index into ``splits``), optional ``split``
            and ``cluster``, and any number of segment columns. Where a detector is audited,
            ``objects`` in the place of ``label``: a list of what is on the image, each with
            ``bbox`` (left, top, width, height in pixels of the decoded image), ``label`` (class
            name), and optional ``id``, ``area``, ``iscrowd``, ``ignore`` and ``columns`` (groups).
        splits: per part, the weights by which rows without a split are divided.
        shape: ``(C, H, W)`` of every decoded image.
        left_out: how many entries of the source are no image, by reason.
    """

    table: pd.DataFrame
    splits: Sequence[Mapping[str, float]]
    shape: tuple[int, int, int]
    left_out: Mapping[str, int]

    def read(self, position: int) -> np.ndarray:
        """Return image ``position`` as uint8 ``(C, H, W)``; raises UnreadableImage."""
        ...


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """Images of a source in one array, backed by a temporary file.

    Attributes:
        images: ``(N, C, H, W)`` uint8.
        table: rows of the source's table that could be decoded, index 0..N-1.
        unreadable: what was wrong with the others.
    """

    images: np.ndarray
    table: pd.DataFrame
    unreadable: tuple[str, ...]


def require_images(source: ImageSource) -> None:
    """Raise InputError if a source is empty."""
    if source.table.empty:
        raise InputError("the image source holds no image; check its paths in the catalog")


def decode_source(
    source: ImageSource,
    max_unreadable: int = 0,
    setting: str = "data_loading.max_unreadable",
) -> DecodedImages:
    """Decode every image once into a memory-mapped array.

    Raises:
        InputError: if the source is empty, or more than ``max_unreadable`` images, the parameter
            ``setting``, cannot be decoded.
    """
    require_images(source)
    count = len(source.table)
    with tempfile.TemporaryFile(prefix="ptq-images-") as scratch:
        images = np.memmap(scratch, np.uint8, "w+", shape=(count, *source.shape))
        kept: list[int] = []
        unreadable: list[str] = []
        for position in range(count):
            try:
                images[len(kept)] = source.read(position)
                kept.append(position)
            except UnreadableImage as error:
                unreadable.append(str(error))
    if len(unreadable) > max_unreadable:
        raise InputError(
            f"{len(unreadable):,} unreadable image(s) of {count:,}, {max_unreadable:,} tolerated: "
            f"{'; '.join(unreadable[:3])}. Repair the files or raise '{setting}'"
        )
    table = source.table.iloc[kept].reset_index(drop=True)
    return DecodedImages(images[: len(kept)], table, tuple(unreadable))


def content_hashes(images: Iterable[np.ndarray]) -> list[str]:
    """Return the SHA-256 (hex) of each image's uint8 pixels in C order."""
    return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in images]


def content_keys(hashes: Iterable[str]) -> np.ndarray:
    """Return the first 8 bytes of hexadecimal hashes as a uint64 array (big endian)."""
    return np.array([int(value[:16], 16) for value in hashes], np.uint64)
