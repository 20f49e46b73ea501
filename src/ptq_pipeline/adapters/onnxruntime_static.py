"""ONNX Runtime's static quantization (``onnxruntime.quantization.quantize_static``) as a method.

It gets the folded float model as ONNX, preprocessed as its documentation asks, and the calibration
images. Defaults are those of the function, with weights per channel and QDQ form, as recommended
for CPUs. Unlike our own export it also quantizes residual additions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import numpy as np

from ptq_pipeline.adapters import AdapterConfig, arrays
from ptq_pipeline.ptq import (
    Batches,
    PreparedModel,
    QuantizationParameters,
    RegisteredMethod,
    WeightParameters,
)
from ptq_pipeline.ptq.export import INPUT, export_onnx
from ptq_pipeline.ptq.hooks import quiet
from ptq_pipeline.runtimes.onnxruntime import import_onnxruntime

# Images that are in memory with all that layers make of them.
BATCH_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class OnnxruntimeStatic(AdapterConfig):
    """Options of ``quantize_static``.

    Attributes:
        calibrate_method: ``minmax``, ``entropy`` or ``percentile``.
        per_channel: one scale per output channel of the weights.
        reduce_range: 7-bit weights, for CPUs without VNNI.
    """

    package: ClassVar[str] = "onnxruntime"
    file_format: ClassVar[str] = "onnx"

    calibrate_method: Literal["minmax", "entropy", "percentile"] = "minmax"
    per_channel: bool = True
    reduce_range: bool = False


def run(
    prepared: PreparedModel,
    batches: Batches,
    method: OnnxruntimeStatic,
    seed: int,
    weights: Mapping[str, WeightParameters] | None = None,
) -> QuantizationParameters:
    """Quantize with ONNX Runtime; nothing in it is random."""
    import_onnxruntime()
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    kinds = quantization.CalibrationMethod
    chosen = {"minmax": kinds.MinMax, "entropy": kinds.Entropy, "percentile": kinds.Percentile}
    # The tool gives its advice through the root logger.
    with TemporaryDirectory() as folder, quiet(None, level=logging.ERROR):
        given, inferred, written = (Path(folder) / f"{name}.onnx" for name in ("a", "b", "c"))
        given.write_bytes(export_onnx(prepared, None))
        quant_pre_process(given, inferred, skip_symbolic_shape=True)
        quantization.quantize_static(
            inferred,
            written,
            _Reader(batches),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=method.per_channel,
            reduce_range=method.reduce_range,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=chosen[method.calibrate_method],
        )
        return method.result({"model.onnx": written.read_bytes()})


class _Reader:
    """A `CalibrationDataReader`, which is asked for nothing else."""

    def __init__(self, batches: Batches) -> None:
        images = np.concatenate(list(arrays(batches)))
        # Batches of one size: the tool stacks them for entropy and percentile.
        size = max(n for n in range(1, BATCH_SIZE + 1) if len(images) % n == 0)
        self.batches = iter(np.split(images, len(images) // size))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch}


METHOD = RegisteredMethod(
    name="onnxruntime_static",
    paper="ONNX Runtime, quantize_static",
    summary="the static quantization of ONNX Runtime, executed from its own file",
    config=OnnxruntimeStatic,
    run=run,
    weight_bits=(8,),
    activation_bits=(8,),
)
