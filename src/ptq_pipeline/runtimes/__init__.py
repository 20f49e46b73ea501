"""Where models run: the simulated reference in torch, and OpenVINO on the CPU."""

from __future__ import annotations

from ptq_pipeline.errors import InputError
from ptq_pipeline.runtimes.base import BATCH_SIZE, Predictor, Runtime, predict_top1
from ptq_pipeline.runtimes.openvino import OpenvinoRuntime
from ptq_pipeline.runtimes.parity import parity
from ptq_pipeline.runtimes.simulated import SimulatedRuntime

RUNTIMES: dict[str, type[SimulatedRuntime] | type[OpenvinoRuntime]] = {
    SimulatedRuntime.name: SimulatedRuntime,
    OpenvinoRuntime.name: OpenvinoRuntime,
}

__all__ = [
    "BATCH_SIZE",
    "RUNTIMES",
    "OpenvinoRuntime",
    "Predictor",
    "Runtime",
    "SimulatedRuntime",
    "build_runtime",
    "parity",
    "predict_top1",
]


def build_runtime(name: str, device: str = "cpu", threads: int | None = None) -> Runtime:
    """Build a runtime by its name.

    Args:
        name: ``simulated`` or ``openvino``.
        device: torch device of the simulated runtime; OpenVINO runs on the CPU only.
        threads: threads of inference and calibration, for the whole process; None leaves them.

    Raises:
        InputError: the name is unknown, or the runtime cannot have that device or these threads.
    """
    if name not in RUNTIMES:
        raise InputError(f"unknown runtime {name!r}; allowed are {sorted(RUNTIMES)}")
    return RUNTIMES[name](device=device, threads=threads)
