"""The reference semantics: torch, float arithmetic on values rounded to the quantization grid."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.provenance import cpu_flags
from ptq_pipeline.ptq import (
    ModelFile,
    PreparedModel,
    QuantizationParameters,
    overridden,
)
from ptq_pipeline.ptq.biases import integer_form
from ptq_pipeline.ptq.simulation import insert_quantizers
from ptq_pipeline.runtimes.base import Predictor


@dataclass(frozen=True, eq=False)
class SimulatedPredictor:
    """A torch module with quantized weights and a fake-quantizer in front of each layer.

    Attributes:
        module: on the device of its runtime.
        device: where it runs.
    """

    module: nn.Module
    device: torch.device

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return logits, float32 ``(n, classes)``, for a float32 ``(n, C, H, W)`` batch."""
        images = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device)
        with torch.inference_mode():
            return self.module(images).cpu().numpy()


class SimulatedRuntime:
    """Fake quantization in torch on a CPU or an accelerator.

    Args:
        device: torch device, for example ``cpu``, ``cuda`` or ``cuda:1``.
        threads: torch's threads on the CPU, set once for the whole process; None leaves them.

    Raises:
        InputError: the device is unknown or not there, or the threads are not positive.
    """

    name = "simulated"

    def __init__(self, device: str = "cpu", threads: int | None = None) -> None:
        set_torch_threads(threads)
        self.threads = threads
        try:
            self.device = torch.device(device)
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"runtime simulated: device {device!r}: {reason}") from None

    @property
    def version(self) -> str:
        """Version of torch."""
        return str(torch.__version__)

    @property
    def options(self) -> dict[str, Any]:
        """What `build_runtime` makes an equal runtime from."""
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

    def compile(
        self, prepared: PreparedModel, parameters: QuantizationParameters | None
    ) -> Predictor:
        """Return a predictor of the quantized model, or of the float model without parameters.

        An ONNX file of another tool is executed as ONNX defines its operators.

        Args:
            prepared: the model; not changed.
            parameters: integers and scales of every layer.

        Raises:
            InputError: the parameters are of other layers than the model.
        """
        if parameters is not None and parameters.file is not None:
            return _reference(parameters.file)
        if parameters is not None:
            require_same_layers(prepared, parameters)
            prepared = overridden(prepared, parameters.overrides)
            parameters, biases = integer_form(prepared, parameters)
        module = copy.deepcopy(prepared.module).to(self.device)
        if parameters is not None:
            for name, bias in biases.items():
                rounded = torch.from_numpy(bias.dequantized()).to(self.device)
                module.get_submodule(name).bias = nn.Parameter(rounded, requires_grad=False)
            insert_quantizers(module, parameters)
        return SimulatedPredictor(module, self.device)


def _reference(file: ModelFile) -> Predictor:
    if file.format != "onnx":
        raise InputError(
            f"runtime simulated: the model that {file.tool} wrote is an {file.format} file, which "
            f"only the runtime {file.format!r} executes"
        )
    from ptq_pipeline.runtimes.onnxruntime import OnnxruntimeRuntime

    return OnnxruntimeRuntime(optimization="none").execute(file)


def set_torch_threads(threads: int | None) -> None:
    """Set torch's threads for the whole process; None leaves them.

    Raises:
        InputError: the number is not positive.
    """
    if threads is None:
        return
    if threads < 1:
        raise InputError(f"runtime: threads must be at least 1, got {threads}")
    torch.set_num_threads(threads)


def require_same_layers(prepared: PreparedModel, parameters: QuantizationParameters) -> None:
    """Check that the parameters are of this model.

    Raises:
        InputError: a layer or operand is missing or unknown, or has a weight of another shape.
    """
    wanted = {layer.name: layer.weight_shape for layer in prepared.layers}
    given = {name: layer.weight.codes.shape for name, layer in parameters.layers.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            raise InputError(
                f"quantization parameters do not fit the model: layer {name!r} has weight shape "
                f"{wanted.get(name)} in the model and {given.get(name)} in the parameters"
            )
    modules = dict(prepared.module.named_modules())
    for name in (*prepared.operands, *parameters.outputs):
        if name not in modules or name not in parameters.outputs:
            raise InputError(
                f"quantization parameters do not fit the model: the output of module {name!r} is "
                f"quantized in one of them only"
            )
