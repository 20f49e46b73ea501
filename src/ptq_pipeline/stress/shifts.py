"""Distribution shifts under which the audit evaluates: functions of pixels and seed alone."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, Self

import numpy as np
from pydantic import RootModel, model_validator

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.overlays import WITHOUT_NULL
from ptq_pipeline.stress.base import Clean, Shift
from ptq_pipeline.stress.corruptions import CORRUPTIONS

ENTRY_POINTS = "ptq_pipeline.shifts"
# So many images are shifted first; all but one of them again, backwards, to see whether order plays
# a part.
PROBE = 4
# Bytes of images that are shifted at a time (a shift computes in floats, so it needs up to twenty
# times that); the result of more is in a temporary file.
BLOCK_BYTES = 16 * 2**20

SHIFTS: dict[str, Callable[..., Shift]] = {CLEAN: Clean} | {
    corruption.kind: corruption for corruption in CORRUPTIONS
}


@cache
def _installed() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def known_shifts() -> list[str]:
    """Return the names of all kinds: built in, and of installed packages."""
    return [*SHIFTS, *sorted(set(_installed()) - set(SHIFTS))]


def build_shift(name: str, options: Mapping[str, object]) -> Shift:
    """Build the shift called ``options['kind']``, or ``name`` where no kind is given.

    Raises:
        InputError: if the kind or an option is unknown, or a value is out of range.
    """
    settings = dict(options)
    kind = str(settings.pop("kind", name))
    try:
        return _factory(name, kind)(**settings)
    except TypeError as error:
        raise InputError(f"shift '{name}': {error}") from error


def _factory(name: str, kind: str) -> Callable[..., Shift]:
    if kind in SHIFTS:
        return SHIFTS[kind]
    if kind not in _installed():
        raise InputError(
            f"shift '{name}': kind '{kind}' is unknown; choose one of {known_shifts()}"
        )
    try:
        return _installed()[kind].load()
    except Exception as error:
        raise InputError(
            f"shift '{name}': kind '{kind}' of the entry points '{ENTRY_POINTS}' cannot be imported"
            f" ({error}); correct or remove the package that brings it"
        ) from error


def apply_shift(
    name: str,
    shift: Shift,
    images: np.ndarray,
    keys: np.ndarray,
    rows: np.ndarray | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> np.ndarray:
    """Shift images and refuse what is no shift of the same images in the same order.

    Args:
        name: of the shift, for errors.
        shift: what to apply.
        images: ``(M, C, H, W)`` uint8, may be memory-mapped.
        keys: ``(N,)`` uint64.
        rows: ``(N,)`` which images to shift; by default all.
        block_bytes: images of about this size are in memory at a time.

    Returns:
        ``(N, C, H, W)`` uint8; of more than one block a memory map of a temporary file.

    Raises:
        InputError: the result has another shape or type, comes with labels, or an image's result
            depends on order or on the other images, so that labels could not be relied on.
    """
    # The probe comes first: it is cheap, and the whole may take long.
    rows = np.arange(len(images)) if rows is None else rows
    first = np.asarray(images[rows[:PROBE]])
    probe = _checked(name, shift, first, keys[:PROBE])
    fewer = _checked(name, shift, first[:0:-1], keys[:PROBE][:0:-1])
    if not np.array_equal(probe[:0:-1], fewer):
        raise InputError(
            f"shift '{name}' gives an image other pixels in another order or beside other images, "
            "so labels cannot be relied on; draw an image's randomness from its key alone"
        )
    size = max(PROBE, block_bytes // max(1, int(np.prod(images.shape[1:]))))
    if len(rows) <= size:
        return _checked(name, shift, np.asarray(images[rows]), keys)
    with tempfile.TemporaryFile(prefix="ptq-shift-") as scratch:
        shifted = np.memmap(scratch, np.uint8, "w+", shape=(len(rows), *images.shape[1:]))
    for start in range(0, len(rows), size):
        block = slice(start, start + size)
        shifted[block] = _checked(name, shift, np.asarray(images[rows[block]]), keys[block])
    return shifted


def _checked(name: str, shift: Shift, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
    given = np.array(images[:PROBE])
    shifted = shift(images, keys)
    if isinstance(shifted, tuple | list | dict):
        raise InputError(
            f"shift '{name}' returned a {type(shifted).__name__} instead of images; a shift may "
            "not change labels, it returns the images only"
        )
    found = np.asarray(shifted)
    if found.shape != images.shape or found.dtype != np.uint8:
        raise InputError(
            f"shift '{name}' must keep shape and type, uint8 {tuple(images.shape)}; it returned "
            f"{found.dtype} {tuple(found.shape)}"
        )
    if not np.array_equal(given, images[:PROBE]):
        raise InputError(f"shift '{name}' changed its input in place; it must return new images")
    return found


class StressParameters(RootModel[Annotated[dict[str, dict[str, Any]], WITHOUT_NULL]]):
    """Shifts by name; ``clean`` must be among them, because every drop is read beside it."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if CLEAN not in self.root:
            raise ValueError("stress: the shift 'clean' is missing; add 'clean: {}'")
        # Built now, so that a bad option is an error of the parameters.
        _ = self.shifts
        return self

    @cached_property
    def shifts(self) -> dict[str, Shift]:
        """The shifts, ``clean`` included."""
        return {name: build_shift(name, options) for name, options in self.root.items()}

    def shifted(
        self, images: np.ndarray, keys: np.ndarray, rows: np.ndarray | None = None
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Yield name and images ``(N, C, H, W)`` uint8 of every shift but clean.

        Of images ``(M, C, H, W)``, which may be memory-mapped, those of ``rows`` ``(N,)`` are
        shifted, or all; ``keys`` ``(N,)`` as in `Shift`.
        """
        for name, shift in self.shifts.items():
            if name != CLEAN:
                yield name, apply_shift(name, shift, images, keys, rows)
