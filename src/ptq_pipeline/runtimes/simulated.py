"""The reference semantics: torch, float arithmetic on values rounded to the quantization grid."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from ptq_pipeline.core.errors import InputError, first_line
from ptq_pipeline.core.provenance import cpu_flags
from ptq_pipeline.ptq import ModelFile, PreparedModel, QuantizationParameters
from ptq_pipeline.ptq.hooks import replica
from ptq_pipeline.ptq.simulation import executed
from ptq_pipeline.runtimes.base import Predictor, Runtime
from ptq_pipeline.runtimes.onnxruntime import OnnxruntimeRuntime


@dataclass(frozen=True, eq=False)
class SimulatedPredictor:
    """A torch module with quantized weights and a fake-quantizer in front of each layer.

    Attributes:
        streams: threads that may call at a time, each with a replica of its own.
    """

    module: nn.Module
    device: torch.device
    streams: int = 1
    _own: threading.local = field(default_factory=threading.local, repr=False)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return logits, float32 ``(n, classes)``, for a float32 ``(n, C, H, W)`` batch."""
        if not hasattr(self._own, "module"):
            self._own.module = replica(self.module)
        images = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device)
        with torch.inference_mode():
            return self._own.module(images).cpu().numpy()


class SimulatedRuntime(Runtime):
    """Fake quantization in torch on any of its devices, for example ``cpu`` or ``cuda:1``."""

    name = "simulated"

    def _device(self, device: str) -> torch.device:
        try:
            found = torch.device(device)
            torch.empty(0, device=found)
            return found
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"runtime simulated: device {device!r}: {first_line(error)}") from None

    @property
    def version(self) -> str:
        """Version of torch."""
        return str(torch.__version__)

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of `build_runtime` for an equal runtime in another process."""
        return {"device": str(self.device), "threads": self.threads}

    def description(self) -> dict[str, Any]:
        """Return device, threads, CPU flags and torch version."""
        return {
            "name": self.name,
            "version": self.version,
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "cpu_flags": cpu_flags(),
        }

    def execute(self, file: ModelFile) -> Predictor:
        """Execute an ONNX file of another tool as ONNX defines its operators.

        Raises:
            InputError: it is no ONNX file.
        """
        if file.format != "onnx":
            raise InputError(
                f"runtime simulated: the model that {file.tool} wrote is an {file.format} file, "
                f"which only the runtime {file.format!r} executes"
            )
        return OnnxruntimeRuntime(optimization="none").execute(file)

    def _compiled(
        self, prepared: PreparedModel, parameters: QuantizationParameters | None
    ) -> SimulatedPredictor:
        if parameters is None:
            module = copy.deepcopy(prepared.module).to(self.device)
        else:
            module = executed(prepared, parameters, self.device)
        streams = torch.get_num_threads() if self.device.type == "cpu" else 1
        return SimulatedPredictor(module, self.device, streams)
