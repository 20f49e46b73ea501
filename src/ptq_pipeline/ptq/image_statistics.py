"""Statistics of single images, computed once and reduced for any calibration set.

A draw's ranges are the smallest and largest of its images' ranges, and its histogram is the sum of
theirs, so one pass over the pool serves every draw, strategy, bit-width and range estimator. Images
are known by their pixels: augmented ones are further rows, and an image in many draws is one row.

Ranges are exact: they equal those of a pass over the set bit for bit. Histograms need one grid for
all sets; it covers the pool instead of the set, so it is coarser by the ratio of the two ranges.
What is no reduction of single images (methods behind a quantized prefix, moving averages, learned
rounding) keeps its forward passes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ptq_pipeline.core.blocks import at_a_time
from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError, NoSpaceError
from ptq_pipeline.core.files import replacing, write_file
from ptq_pipeline.core.provenance import cpu_flags
from ptq_pipeline.ptq.hooks import Visit, one_thread
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.spec import ENGINE_VERSION
from ptq_pipeline.ptq.statistics import (
    DEFAULT_BINS,
    HistogramGrid,
    HistogramStatistics,
    InputStatistics,
    count_values,
    not_finite,
    observe_inputs,
)

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
# Kernels choose their order of summation by the size of the batch, above all for single images:
# every batch of images of one shape has the same, and the last is filled up.
BATCH = 32
KEY_BYTES, DIGEST_BYTES = 16, 32
# Images per file: what a killed run may lose.
SEGMENT = 4096
Compute = Callable[[np.ndarray], np.ndarray]


class StatisticsError(InputError):
    """The model's values on an image cannot be used."""


class ImageStatistics:
    """Rows of statistics by image, in memory-mapped files that only grow.

    Each `add` writes one segment: the keys of its images beside their rows. Segments are written
    atomically and never changed, so a killed run loses the segment at hand.

    Args:
        folder: where the files of all models are.
        model: fingerprint of the float model and its preprocessing.
        prepared: the folded model.
        preprocess: from uint8 to float32 images.
        grid_images: uint8 images whose ranges fix the grids of the histograms, normally the pool;
            range estimators that read histograms need them or ``grids``.
        grids: the grid of each place, where another process has fixed them.
    """

    def __init__(
        self,
        folder: Path,
        model: str,
        prepared: PreparedModel,
        preprocess: Compute,
        grid_images: np.ndarray | ImageRows | None = None,
        grids: Sequence[HistogramGrid] | None = None,
    ) -> None:
        self.prepared = prepared
        self.preprocess = preprocess
        self.grid_images = grid_images
        self.places = [n for n, reader in prepared.first_readers.items() if n == reader]
        self.identity = {
            "schema_version": SCHEMA_VERSION,
            "model": model,
            "engine": ENGINE_VERSION,
            "torch": str(torch.__version__),
            "cpu_flags": cpu_flags(),
            "places": self.places,
        }
        self.folder = folder / canonical_hash(self.identity)[:16]
        self._ranges = _Table(self.folder, "ranges", (len(self.places), 2), np.float32)
        # The grids when something has asked for them, or else None.
        self.fixed_grids = None if grids is None else list(grids)

    @property
    def grids(self) -> list[HistogramGrid]:
        """The grid of each place, over the ranges of `grid_images`.

        Raises:
            InputError: there are no `grid_images`.
        """
        if self.fixed_grids is None:
            if self.grid_images is None:
                raise InputError("histograms of single images need a pool that fixes their grid")
            self.add([self.grid_images])
            extremes = self._extremes(image_keys(self.grid_images))
            self.fixed_grids = [HistogramGrid.covering(*each) for each in extremes]
        return self.fixed_grids

    @property
    def grid_id(self) -> str:
        """Hash of the grids: results that read histograms depend on it."""
        return canonical_hash([[g.low, g.width, g.bins] for g in self.grids])[:16]

    def separable(self) -> bool:
        """Whether each image's inputs can be told apart in a batch, and do not depend on it.

        Layers that see the batch elsewhere than in the first dimension, or mix images, cannot be
        reduced; a permuted batch of noise shows it.
        """
        count = max(2, at_a_time(self.prepared.input_shape, BATCH))
        noise = np.random.default_rng(0).integers(0, 256, (count, *self.prepared.input_shape))
        images = noise.astype(np.uint8)
        order = np.random.default_rng(1).permutation(count)
        try:
            first, second = self._range_rows(images), self._range_rows(images[order])
        except RuntimeError:
            return False
        return bool(np.array_equal(first[order], second))

    def add(self, sets: Sequence[np.ndarray | ImageRows], histograms: bool = False) -> None:
        """Compute the rows of those uint8 images ``(n, C, H, W)`` that have none yet.

        Raises:
            StatisticsError: a layer's input is not finite.
            NoSpaceError: the file does not fit on the disk.
        """
        if not (self.folder / "identity.json").exists():
            content = json.dumps(self.identity, indent=2, sort_keys=True).encode()
            write_file(self.folder / "identity.json", content)
        self._ranges.extend(sets, self._range_rows)
        if histograms:
            self._histograms.extend(sets, self._histogram_rows)

    def reduce(self, images: np.ndarray, histograms: bool = False) -> dict[str, InputStatistics]:
        """Return the statistics of a calibration set, uint8 ``(n, C, H, W)``; see `add`."""
        self.add([images], histograms)
        keys = image_keys(images)
        counted: list[HistogramStatistics] | list[None] = [None] * len(self.places)
        if histograms:
            summed = np.zeros((len(self.places), DEFAULT_BINS), np.int64)
            for row in self._histograms.rows(keys):
                summed += row
            counted = list(map(HistogramStatistics, self.grids, summed))
        found = {
            name: InputStatistics(low, high, histogram=histogram)
            for name, (low, high), histogram in zip(
                self.places, self._extremes(keys), counted, strict=True
            )
        }
        return {name: found[reader] for name, reader in self.prepared.first_readers.items()}

    def _extremes(self, keys: list[bytes]) -> list[tuple[float, float]]:
        """Return smallest and largest value of each place."""
        rows = np.stack(list(self._ranges.rows(keys)))
        return list(zip(rows[:, :, 0].min(0).tolist(), rows[:, :, 1].max(0).tolist(), strict=True))

    @cached_property
    def _histograms(self) -> _Table:
        values = dict.fromkeys(self.places, 0)

        def observe(name: str, inputs: Tensor) -> None:
            values[name] += inputs.numel() // 2

        observe_inputs(self.prepared, [torch.zeros(2, *self.prepared.input_shape)], observe)
        # An image has fewer values than 16 bits hold, or 32 bits are taken.
        kind = np.uint16 if max(values.values()) < 2**16 else np.uint32
        shape = (len(self.places), DEFAULT_BINS)
        return _Table(self.folder, f"histograms-{self.grid_id}", shape, kind)

    def _observed(self, batch: np.ndarray, observe: Visit) -> None:
        with one_thread():
            observe_inputs(self.prepared, [torch.from_numpy(self.preprocess(batch))], observe)

    def _range_rows(self, batch: np.ndarray) -> np.ndarray:
        """Return float32 ``(n, places, 2)``."""
        found: dict[str, tuple[Tensor, Tensor]] = {}

        def observe(name: str, values: Tensor) -> None:
            low, high = torch.aminmax(values.reshape(len(batch), -1), dim=1)
            if name in found:
                low = torch.minimum(low, found[name][0])
                high = torch.maximum(high, found[name][1])
            found[name] = (low, high)

        self._observed(batch, observe)
        rows = np.stack([torch.stack(found[n], 1).cpu().numpy() for n in self.places], 1)
        if not np.isfinite(rows).all():
            place = self.places[int(np.argwhere(~np.isfinite(rows))[0][1])]
            raise StatisticsError(not_finite(place))
        return rows

    def _histogram_rows(self, batch: np.ndarray) -> np.ndarray:
        """Return counts ``(n, places, bins)``."""
        found = np.zeros((len(batch), len(self.places), DEFAULT_BINS), np.int64)
        position = {name: i for i, name in enumerate(self.places)}

        def observe(name: str, values: Tensor) -> None:
            place = position[name]
            for image, row in enumerate(values.reshape(len(batch), -1)):
                found[image, place] += count_values(row, self.grids[place]).cpu().numpy()

        self._observed(batch, observe)
        return found


@dataclass(frozen=True, eq=False)
class ImageRows:
    """Some rows, int ``(n,)``, of an array of images ``(N, C, H, W)``, read when looked at."""

    images: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int | slice) -> np.ndarray:
        return self.images[self.rows[position]]


class _Table:
    """Rows of one kind by image key, over all segments of a folder.

    A segment is ``<name>.<hash>.rows`` beside ``.keys``, which starts with the SHA-256 of the rows.
    """

    def __init__(self, folder: Path, name: str, shape: tuple[int, ...], dtype: Any) -> None:
        self.folder, self.name, self.shape, self.dtype = folder, name, shape, np.dtype(dtype)
        self._where: dict[bytes, tuple[int, int]] = {}
        self._segments: list[np.ndarray] = []
        for path in sorted(folder.glob(f"{name}.*.keys")):
            self._open(path)

    def _open(self, path: Path) -> None:
        content = path.read_bytes()
        digest, keys = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        count, rows = len(keys) // KEY_BYTES, path.with_suffix(".rows")
        try:
            mapped = np.memmap(rows, self.dtype, "r", shape=(count, *self.shape))
            damaged = _digest(mapped) != digest
        except (OSError, ValueError):
            damaged = True
        if damaged:
            log.warning("statistics '%s' are damaged and are computed again", rows)
            path.unlink()
            return
        for row in range(count):
            key = keys[row * KEY_BYTES : (row + 1) * KEY_BYTES]
            self._where[key] = (len(self._segments), row)
        self._segments.append(mapped)

    def rows(self, keys: Iterable[bytes]) -> Iterator[np.ndarray]:
        for key in keys:
            segment, row = self._where[key]
            yield self._segments[segment][row]

    def extend(self, sets: Sequence[np.ndarray | ImageRows], compute: Compute) -> None:
        """Compute and write the rows of the images that have none, a segment at a time."""
        missing = {
            key: (images, row)
            for images in sets
            for row, key in enumerate(image_keys(images))
            if key not in self._where
        }
        keys = list(missing)
        per_image = int(np.prod(self.shape)) * self.dtype.itemsize
        with _enough_space(self.folder / f"{self.name}.rows", len(keys) * per_image):
            for start in range(0, len(keys), SEGMENT):
                part = {key: missing[key] for key in keys[start : start + SEGMENT]}
                self._write(b"".join(part), map(compute, _batches(list(part.values()))))

    def _write(self, keys: bytes, parts: Iterable[np.ndarray]) -> None:
        left = len(keys) // KEY_BYTES
        path = self.folder / f"{self.name}.{hashlib.sha256(keys).hexdigest()[:16]}.keys"
        digest = hashlib.sha256()
        with replacing(path.with_suffix(".rows")) as scratch, scratch.open("wb") as stream:
            for part in parts:
                kept = np.ascontiguousarray(part[:left], self.dtype)
                stream.write(kept.data)
                digest.update(kept.data)
                left -= len(kept)
        # The keys come last: rows without keys count as absent.
        write_file(path, digest.digest() + keys)
        self._open(path)


def _batches(images: list[tuple[np.ndarray | ImageRows, int]]) -> Iterator[np.ndarray]:
    """Yield uint8 batches of one size; the last one is filled up with its own first image."""
    if not images:
        return
    array, row = images[0]
    size = at_a_time(array[row].shape, BATCH)
    for start in range(0, len(images), size):
        chosen = images[start : start + size]
        chosen += chosen[:1] * (size - len(chosen))
        yield np.stack([array[row] for array, row in chosen])


def _digest(rows: np.ndarray) -> bytes:
    digest = hashlib.sha256()
    for start in range(0, len(rows), SEGMENT // 16):
        digest.update(np.ascontiguousarray(rows[start : start + SEGMENT // 16]).data)
    return digest.digest()


def image_keys(images: np.ndarray | ImageRows) -> list[bytes]:
    """Return what each image is known by: the start of the SHA-256 of its pixels."""
    keys = []
    for start in range(0, len(images), 1024):
        part = np.ascontiguousarray(images[start : start + 1024])
        keys += [hashlib.sha256(image.data).digest()[:KEY_BYTES] for image in part]
    return keys


@contextmanager
def _enough_space(path: Path, size: int) -> Iterator[None]:
    """Turn a full disk into an error that names the file and what it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    message = (
        f"no space for the statistics file '{path}': it needs {size / 1e6:.0f} MB and "
        f"{free / 1e6:.0f} MB are free; make room, or set 'quantization.statistics: direct', which "
        "keeps none"
    )
    if size > free:
        raise NoSpaceError(message)
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(message) from error
        raise
