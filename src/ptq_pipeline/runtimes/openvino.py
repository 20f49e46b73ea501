"""OpenVINO on the CPU: integer kernels for every width from 2 to 8 bits, from one conversion."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import torch

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.ptq import ModelFile, PreparedModel, QuantizationParameters
from ptq_pipeline.ptq.export import require_one_file
from ptq_pipeline.ptq.places import graph_source
from ptq_pipeline.runtimes.base import Runtime
from ptq_pipeline.runtimes.openvino_graph import (
    BIAS_SUFFIX,
    MODULE_PREFIX,
    MULTIPLYING_OPS,
    call_names,
    convert,
    openvino,
    quantized,
)

INTEGER_PRECISIONS = frozenset({"u8", "i8"})
EXECUTED_LAYERS = frozenset({"Convolution", "GroupConvolution", "FullyConnected", "MatMul"})
# Attention becomes one compiled piece of code, whose precision is that of its first operand.
COMPILED = "Subgraph"


@dataclass(frozen=True, eq=False)
class OpenvinoPredictor:
    """A compiled OpenVINO model.

    Attributes:
        model: the graph that was compiled, with an open batch size; what `save` writes.
        compiled: ``openvino.CompiledModel``.
        layers: names of the layer calls.
        streams: threads that may call at a time; each call runs on one core.
    """

    model: Any
    compiled: Any
    layers: tuple[str, ...]
    streams: int = 1
    _idle: SimpleQueue[Any] = field(default_factory=SimpleQueue, repr=False)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return logits, float32 ``(n, classes)``, for a float32 ``(n, C, H, W)`` batch."""
        try:
            request = self._idle.get_nowait()
        except Empty:
            request = self.compiled.create_infer_request()
        try:
            return request.infer(np.ascontiguousarray(batch, np.float32), share_inputs=True)[0]
        finally:
            self._idle.put(request)


class OpenvinoRuntime(Runtime):
    """OpenVINO's CPU plugin, in float32 outside the integer layers.

    ``threads`` is how many batches run at a time, each on one core; as many as torch has threads
    when left out.
    """

    name = "openvino"

    @property
    def version(self) -> str:
        """Version of OpenVINO."""
        return str(openvino.__version__)

    def description(self) -> dict[str, Any]:
        """Return versions, threads, CPU flags and what OpenVINO says the CPU can do."""
        capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return {**super().description(), "capabilities": sorted(capabilities)}

    def execute(self, file: ModelFile) -> OpenvinoPredictor:
        """Return a predictor of the file that another tool wrote."""
        first, *rest = file.parts.values()
        return self.opened(_core().read_model(first, rest[0] if rest else b""))

    def load(self, path: Path) -> OpenvinoPredictor:
        """Return a predictor of an ``.xml`` file with the ``.bin`` beside it, or of an ``.onnx``.

        Raises:
            InputError: a file is missing or is not an OpenVINO model.
        """
        path = Path(path)
        weights = [] if path.suffix == ".onnx" else [path.with_suffix(".bin")]
        for part in (path, *weights):
            if not part.is_file():
                raise InputError(f"openvino model: file {part} is missing")
        try:
            if path.suffix == ".onnx":
                require_one_file(path.read_bytes())
            model = _core().read_model(path)
        except (RuntimeError, InputError) as error:
            raise InputError(f"openvino model: {path} cannot be read: {error}") from None
        return self.opened(model)

    def opened(self, model: Any) -> OpenvinoPredictor:
        """Return a predictor of any ``openvino.Model``, wherever it comes from."""
        layers = [
            operation.get_friendly_name()
            for operation in model.get_ordered_ops()
            if operation.get_type_name() in MULTIPLYING_OPS
        ]
        return self._predictor(model, tuple(layers))

    def _compiled(
        self, prepared: PreparedModel, parameters: QuantizationParameters | None
    ) -> OpenvinoPredictor:
        model = convert(*graph_source(prepared, parameters))
        # A float product may be fused into attention and leaves no trace of its own.
        products: tuple[str, ...] = ()
        if parameters is not None:
            model, products = quantized(model, prepared, parameters), prepared.products
        return self._predictor(model, (*call_names(prepared), *products))

    def _predictor(self, model: Any, layers: tuple[str, ...]) -> OpenvinoPredictor:
        streams = self.threads or torch.get_num_threads()
        config: dict[str, Any] = {
            # bf16, the default where the CPU has it, changes answers: never audit with it.
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            # By default layers with integer weights and float input choose scales of their own.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            # One core works on one small batch, whose activations stay in its cache, and waits for
            # no other core: a sixth faster than two cores on one batch. Where several cores share a
            # batch, OpenVINO 2026.4.1 compiles an integer graph into one of several that answer
            # differently (10 of 40 compilations of a small detector, AVX2 without VNNI).
            "INFERENCE_NUM_THREADS": streams,
            "NUM_STREAMS": streams,
            # Pinned, processes side by side would all share the first cores.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = _core().compile_model(model, "CPU", config)
        return OpenvinoPredictor(model, compiled, layers, streams)


def executed_precisions(predictor: OpenvinoPredictor) -> dict[str, str]:
    """Return in which precision the CPU really executes each layer call.

    That is ``u8`` or ``i8`` for integer kernels, or for example ``f32``.

    Raises:
        InputError: a layer is not found in the executed graph.
    """
    executed = {}
    for operation in predictor.compiled.get_runtime_model().get_ordered_ops():
        facts = operation.get_rt_info()
        kind = facts["layerType"].astype(str)
        if kind in EXECUTED_LAYERS or kind == COMPILED:
            precision = facts["runtimePrecision"].astype(str)
            for name in facts["originalLayersNames"].astype(str).split(","):
                # What OpenVINO derives from an operation it names "<operation>/<what>".
                found = name.removeprefix(MODULE_PREFIX).split("/")[0]
                if kind != COMPILED or found not in executed:
                    executed[found] = precision
    missing = [name for name in predictor.layers if name not in executed]
    if missing:
        raise InputError(f"openvino: layers not found in the executed graph: {missing}")
    return {name: executed[name] for name in predictor.layers}


def save(predictor: OpenvinoPredictor, path: Path) -> tuple[Path, Path]:
    """Write a model as OpenVINO IR with full precision; equal models give equal bytes.

    The weights go to ``.bin`` beside the ``.xml``; both paths are returned. The directory exists.

    Raises:
        InputError: the name does not end in ``.xml``.
    """
    path = Path(path)
    if path.suffix != ".xml":
        raise InputError(f"openvino model: the file name must end in .xml, got {path.name!r}")
    model = predictor.model.clone()
    # Generated names carry a counter of the process, which would make the bytes depend on history.
    model.set_friendly_name(path.stem)
    kept = {name + suffix for name in predictor.layers for suffix in ("", BIAS_SUFFIX)}
    for index, operation in enumerate(model.get_ordered_ops()):
        if operation.get_friendly_name() not in kept:
            operation.set_friendly_name(f"{operation.get_type_name()}_{index}")
    openvino.save_model(model, path, compress_to_fp16=False)
    return path, path.with_suffix(".bin")


@functools.cache
def _core() -> Any:
    return openvino.Core()
