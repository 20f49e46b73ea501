"""The cells of the grid, and the calibration sets they need."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ptq_pipeline.calibration.draws import draw_set
from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.pipelines.benchmark.parameters import BenchmarkParameters, CalibrationChoice


@dataclass(frozen=True)
class Cell:
    """One combination; each of its draws is a trial.

    Attributes:
        study: name of the study.
        bits: such as ``W4A8``.
        method: name of the method.
        calibration: name of the calibration distribution within the study.
        choice: that distribution.
        draws: calibration sets.
        seeds: seeds of the method per set.
    """

    study: str
    bits: str
    method: str
    calibration: str
    choice: CalibrationChoice
    draws: int
    seeds: int


def cells(parameters: BenchmarkParameters) -> Iterator[Cell]:
    """Yield the cells of all studies that the subset allows, in a fixed order."""
    only = parameters.only
    for name, study in parameters.studies.items():
        if not only.allows("studies", name):
            continue
        for label, choice in study.calibrations.items():
            if not only.allows("calibrations", label):
                continue
            for bits in study.bits or parameters.bits:
                for method in study.methods or parameters.methods:
                    if only.allows("bits", bits) and only.allows("methods", method):
                        draws = study.draws or parameters.draws
                        yield Cell(name, bits, method, label, choice, draws, study.seeds)


class Sets:
    """Calibration sets of one model, drawn when they are first asked for.

    Args:
        pool: what may be drawn.
        images: uint8 ``(N, C, H, W)``, row = sample id.
        seed: master seed.
        size: images per set where a choice does not say.
    """

    def __init__(self, pool: Pool, images: np.ndarray, seed: int, size: int) -> None:
        self._pool = pool
        self._images = images
        self._seed = seed
        self._size = size
        self._drawn: dict[tuple[str, int], CalibrationSet] = {}

    def __call__(self, choice: CalibrationChoice, draw: int) -> CalibrationSet:
        """Return one draw."""
        key = (choice.model_dump_json(), draw)
        if key not in self._drawn:
            plan = choice.plan(self._size, self._seed)
            self._drawn[key] = draw_set(self._pool, self._images, plan, draw)
        return self._drawn[key]
