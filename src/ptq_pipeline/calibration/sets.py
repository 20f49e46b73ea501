"""A calibration set: a manifest that says what it is, and one packed array of its pixels.

On disk a set is ``<set_id>.npy`` (uint8, ``(n, C, H, W)``) beside ``<set_id>.json``. The identity
of a set is the hash of its manifest, which holds the hash of the pixels.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from ptq_pipeline.core.canonical import file_bytes
from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import replacing, replacing_folder, write_file

REBUILD = "run the pipeline 'calibration' again, or restore the folder with 'dvc checkout'"


class CalibrationManifest(Document):
    """All that defines a calibration set.

    Attributes:
        strategy: name of the sampling strategy.
        options: the strategy's options, complete.
        seed: seed of this draw, derived from strategy, options, master seed and draw.
        draw: number of the draw, from 0.
        size: number of images n.
        pool_size: number of different images that could have been drawn.
        augmentation: how the pixels differ from those of the samples; empty where they do not.
        sample_ids: ``(n,)`` rows of ``images``, in the order of the set.
        content_hashes: ``(n,)`` SHA-256 (hex) of the *samples'* pixels, before any augmentation:
            an image that leaks from the audit must be found under noise too.
        array_sha256: SHA-256 (hex) of the set's own pixels in C order.
        shape: ``(n, C, H, W)``.
    """

    called: ClassVar[str] = "the calibration manifest"
    way_out: ClassVar[str] = REBUILD

    strategy: str
    options: dict[str, Any]
    seed: int
    draw: int
    size: int
    pool_size: int
    augmentation: dict[str, Any]
    sample_ids: tuple[int, ...]
    content_hashes: tuple[str, ...]
    array_sha256: str
    shape: tuple[int, ...]
    schema_version: Literal[1] = 1

    @cached_property
    def set_id(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical manifest."""
        return self.hash[:16]


class DeferredImages:
    """Pixels of a drawn set that are made when they are looked at and not kept.

    Fifty sets of 256 images of 224 x 224 pixels would otherwise fill 2 GB until they are written.
    ``make`` returns the ``(n, C, H, W)`` uint8 array, the same one each time.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, make: Callable[[], np.ndarray], shape: tuple[int, ...]) -> None:
        self._make = make
        self.shape = shape

    def __len__(self) -> int:
        """Return n."""
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return some of the images."""
        return self._make()[rows]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all of the images."""
        return np.asarray(self._make(), dtype)


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """A manifest and its pixels.

    Attributes:
        manifest: what the set is.
        pixels: ``(n, C, H, W)`` uint8, in memory, mapped from disk, or made on demand; nothing has
            compared them with the manifest.
    """

    manifest: CalibrationManifest
    pixels: np.ndarray | DeferredImages

    @cached_property
    def images(self) -> np.ndarray | DeferredImages:
        """The pixels, compared with the manifest when they are first asked for.

        ``numpy.asarray`` reads them. Those that are made on demand are not compared: they are what
        the manifest is made from.
        """
        if isinstance(self.pixels, np.ndarray):
            self.verify()
        return self.pixels

    @property
    def set_id(self) -> str:
        """Identity of the set."""
        return self.manifest.set_id

    def verify(self) -> None:
        """Compare the pixels with the manifest; this reads them all.

        Raises:
            InputError: if they are not the pixels that the manifest was written for.
        """
        if array_sha256(self.pixels) != self.manifest.array_sha256:
            place = getattr(self.pixels, "filename", None)
            where = "" if place is None else f" ('{place}')"
            raise InputError(
                f"the pixels of calibration set {self.set_id}{where} are not those of its "
                f"manifest; {REBUILD}"
            )


def array_sha256(images: np.ndarray | DeferredImages) -> str:
    """Return the SHA-256 (hex) of an array's bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()


def save_set(calibration_set: CalibrationSet, directory: Path) -> None:
    """Write a set into ``directory``, each file atomically, the manifest last."""
    stem = calibration_set.set_id
    array = np.ascontiguousarray(calibration_set.images)
    with replacing(directory / f"{stem}.npy") as scratch, scratch.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
    write_file(directory / f"{stem}.json", file_bytes(calibration_set.manifest.to_json()))


def load_set(directory: Path, set_id: str) -> CalibrationSet:
    """Read a manifest and map its pixels.

    Raises:
        InputError: if a file is missing, truncated, or does not belong to the other one.
    """
    path, pixels = directory / f"{set_id}.json", directory / f"{set_id}.npy"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"calibration manifest '{path}' is missing or damaged ({error}); {REBUILD}"
        ) from error
    try:
        manifest = CalibrationManifest.read(content)
    except InputError as error:
        raise InputError(f"'{path}' is no calibration manifest: {error}") from error
    if manifest.set_id != set_id:
        raise InputError(
            f"calibration manifest '{path}' was changed: its hash is {manifest.set_id}; {REBUILD}"
        )
    try:
        images = np.load(pixels, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"calibration array '{pixels}' is missing or truncated ({error}); {REBUILD}"
        ) from error
    if images.shape != manifest.shape or images.dtype != np.uint8:
        raise InputError(
            f"calibration array '{pixels}' holds {images.dtype} {images.shape}, its manifest says "
            f"uint8 {manifest.shape}; {REBUILD}"
        )
    return CalibrationSet(manifest, images)


def save_sets(sets: Mapping[str, CalibrationSet], directory: Path) -> None:
    """Replace the contents of ``directory`` by ``sets``; a crash leaves the old sets or the new.

    Sets that are mapped from the old folder stay readable.
    """
    with replacing_folder(directory) as scratch:
        for calibration_set in sets.values():
            save_set(calibration_set, scratch)


def load_sets(directory: Path) -> dict[str, CalibrationSet]:
    """Map every set of ``directory``, in the order of their identities.

    Raises:
        InputError: if the folder is missing, or an array or a manifest is alone or is damaged.
    """
    if not directory.is_dir():
        raise InputError(f"calibration sets '{directory}' are missing; {REBUILD}")
    names = {path.stem for path in directory.iterdir() if path.suffix in (".npy", ".json")}
    return {name: load_set(directory, name) for name in sorted(names)}
