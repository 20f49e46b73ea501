"""How fast a compiled model answers here and now: figures of this machine, never of an audit."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np

from ptq_pipeline.runtimes.base import Predictor

SINGLE_IMAGES = 50
BATCHES = 5


@dataclass(frozen=True)
class Speed:
    """What one model reached.

    Attributes:
        latency_ms: milliseconds of one image, the median of 50.
        images_per_second: in batches, one on each of the predictor's streams, the best of 5.
    """

    latency_ms: float
    images_per_second: float

    def to_json(self) -> dict[str, float]:
        """Return the figures, rounded to what they are worth."""
        return {name: float(f"{value:.4g}") for name, value in asdict(self).items()}


def measure_speed(predictor: Predictor, batch: np.ndarray) -> Speed:
    """Measure one model, warmed up, with the threads it was compiled for.

    Args:
        predictor: the model.
        batch: preprocessed images ``(n, C, H, W)``, as many as one inference takes.
    """
    one = batch[:1]
    predictor(one)
    predictor(batch)
    single = [_seconds(predictor, one) for _ in range(SINGLE_IMAGES)]
    streams = getattr(predictor, "streams", 1)
    with ThreadPoolExecutor(streams) as threads:

        def together(images: np.ndarray) -> None:
            list(threads.map(predictor, [images] * streams))

        together(batch)
        whole = [_seconds(together, batch) for _ in range(BATCHES)]
    return Speed(1e3 * float(np.median(single)), streams * len(batch) / min(whole))


def _seconds(run: Callable[[np.ndarray], object], images: np.ndarray) -> float:
    started = time.perf_counter()
    run(images)
    return time.perf_counter() - started
