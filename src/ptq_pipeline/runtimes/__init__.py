"""Where models run: the simulated reference in torch, OpenVINO and ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import Any

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.runtimes.base import BATCH_SIZE, Predictor, Runtime, predict_top1
from ptq_pipeline.runtimes.onnxruntime import OnnxruntimeRuntime
from ptq_pipeline.runtimes.openvino import OpenvinoRuntime
from ptq_pipeline.runtimes.parity import disagreement, parity
from ptq_pipeline.runtimes.simulated import SimulatedRuntime
from ptq_pipeline.runtimes.speed import Speed, measure_speed

RUNTIMES: dict[str, type[SimulatedRuntime] | type[OpenvinoRuntime] | type[OnnxruntimeRuntime]] = {
    SimulatedRuntime.name: SimulatedRuntime,
    OpenvinoRuntime.name: OpenvinoRuntime,
    OnnxruntimeRuntime.name: OnnxruntimeRuntime,
}

__all__ = [
    "BATCH_SIZE",
    "RUNTIMES",
    "OnnxruntimeRuntime",
    "OpenvinoRuntime",
    "Predictor",
    "Runtime",
    "SimulatedRuntime",
    "Speed",
    "build_runtime",
    "disagreement",
    "measure_speed",
    "parity",
    "predict_top1",
]


def build_runtime(
    name: str, device: str = "cpu", threads: int | None = None, **options: Any
) -> Runtime:
    """Build a runtime by its name.

    Args:
        name: ``simulated``, ``openvino`` or ``onnxruntime``.
        device: torch device of the simulated runtime; the others run on the CPU only.
        threads: threads of inference and calibration, for the whole process; None leaves them.
        **options: what only this runtime takes.

    Raises:
        InputError: the name is unknown, or the runtime cannot have that device or these threads.
    """
    if name not in RUNTIMES:
        raise InputError(f"unknown runtime {name!r}; allowed are {sorted(RUNTIMES)}")
    return RUNTIMES[name](device=device, threads=threads, **options)
