"""Which shifts an audit evaluates under: the parameters of ``stress``."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Self

import numpy as np
from pydantic import RootModel, model_validator

from ptq_pipeline.stress.base import Shift
from ptq_pipeline.stress.shifts import apply_shift, build_shift

CLEAN = "clean"


class StressParameters(RootModel[dict[str, dict[str, Any]]]):
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

        Args:
            images: uint8 ``(M, C, H, W)``, may be memory-mapped.
            keys: ``(N,)`` uint64, see `Shift`.
            rows: ``(N,)`` which images to shift; all when left out.
        """
        for name, shift in self.shifts.items():
            if name != CLEAN:
                yield name, apply_shift(name, shift, images, keys, rows)
