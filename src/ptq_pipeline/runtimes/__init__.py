"""Where models run: the simulated reference in torch, OpenVINO, ONNX Runtime, and a command."""

from __future__ import annotations

from typing import Any

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.runtimes.base import (
    Predictor,
    Runtime,
    measure_speed,
    predict_top1,
    read_outputs,
    streams_of,
)
from ptq_pipeline.runtimes.external import ExternalRuntime
from ptq_pipeline.runtimes.onnxruntime import OnnxruntimeRuntime
from ptq_pipeline.runtimes.openvino import OpenvinoRuntime
from ptq_pipeline.runtimes.parity import disagreement, parity
from ptq_pipeline.runtimes.simulated import SimulatedRuntime

RUNTIMES: dict[str, type[Runtime]] = {
    kind.name: kind
    for kind in (SimulatedRuntime, OpenvinoRuntime, OnnxruntimeRuntime, ExternalRuntime)
}

__all__ = [
    "RUNTIMES",
    "ExternalRuntime",
    "OnnxruntimeRuntime",
    "OpenvinoRuntime",
    "Predictor",
    "Runtime",
    "SimulatedRuntime",
    "build_runtime",
    "disagreement",
    "measure_speed",
    "parity",
    "predict_top1",
    "read_outputs",
    "streams_of",
]


def build_runtime(name: str, **options: Any) -> Runtime:
    """Build a runtime by its name, with the options that it takes.

    Raises:
        InputError: the name is unknown, or the runtime cannot have that device or these threads.
    """
    if name not in RUNTIMES:
        raise InputError(f"unknown runtime {name!r}; allowed are {sorted(RUNTIMES)}")
    return RUNTIMES[name](**options)
