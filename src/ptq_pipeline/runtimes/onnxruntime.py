"""ONNX Runtime on the CPU, executing the very file that ships."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptq_pipeline.core.errors import InputError, first_line
from ptq_pipeline.ptq import ModelFile, PreparedModel, QuantizationParameters
from ptq_pipeline.ptq.export import (
    DEFAULT_OPSET,
    INPUT,
    OUTPUT,
    float_graph,
    quantized_graph,
    require_one_file,
)
from ptq_pipeline.ptq.places import graph_source
from ptq_pipeline.runtimes.base import Runtime

SERIOUS = 3


def import_onnxruntime() -> Any:
    """Import ONNX Runtime, an optional package, so that nothing phones home.

    Raises:
        InputError: it is not installed.
    """
    first = "onnxruntime" not in sys.modules
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            "runtime onnxruntime: package 'onnxruntime' is not installed; "
            "pip install 'ptq-pipeline[onnxruntime]'"
        ) from None
    if first:
        # Only Windows builds report anything; asking for silence costs nothing elsewhere.
        onnxruntime.disable_telemetry_events()
    return onnxruntime


@dataclass(frozen=True, eq=False)
class OnnxruntimePredictor:
    """An ``onnxruntime.InferenceSession`` and the content of its file."""

    session: Any
    content: bytes

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return logits, float32 ``(n, classes)``, for a float32 ``(n, C, H, W)`` batch."""
        name = self.session.get_inputs()[0].name
        return self.session.run(None, {name: np.ascontiguousarray(batch, np.float32)})[0]


class OnnxruntimeRuntime(Runtime):
    """ONNX Runtime's CPU provider on models in QDQ form, in an operator set of the version `opset`.

    The optimization ``all`` runs integer kernels; ``none`` executes each operator of the file as
    ONNX defines it, which is the simulation within float rounding.

    Raises:
        InputError: the package is missing, or an option is not supported.
    """

    name = "onnxruntime"

    def __init__(
        self,
        device: str = "cpu",
        threads: int | None = None,
        optimization: str = "all",
        opset: int = DEFAULT_OPSET,
    ) -> None:
        if optimization not in {"all", "none"}:
            raise InputError(
                f"runtime onnxruntime: optimization must be 'all' or 'none', got {optimization!r}"
            )
        import_onnxruntime()
        super().__init__(device, threads)
        self.optimization = optimization
        self.opset = opset

    @property
    def version(self) -> str:
        """Version of ONNX Runtime."""
        return str(import_onnxruntime().__version__)

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of `build_runtime` for an equal runtime in another process."""
        return {**super().options, "optimization": self.optimization, "opset": self.opset}

    def load(self, path: Path) -> OnnxruntimePredictor:
        """Return a predictor of an ``.onnx`` file.

        Raises:
            InputError: the file is missing, is no ONNX model, or is no classifier of images.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"onnx model: file {path} is missing")
        try:
            predictor = self.session(path.read_bytes())
        except Exception as error:
            raise InputError(f"onnx model: {path} cannot be read: {first_line(error)}") from None
        counts = len(predictor.session.get_inputs()), len(predictor.session.get_outputs())
        if counts != (1, 1):
            raise InputError(
                f"onnx model: {path} has {counts[0]} inputs and {counts[1]} outputs; a classifier "
                f"has one of each, such as {INPUT!r} and {OUTPUT!r}"
            )
        return predictor

    def execute(self, file: ModelFile) -> OnnxruntimePredictor:
        """Return a predictor of the file that another tool wrote.

        Raises:
            InputError: it is no ONNX file.
        """
        if file.format != "onnx":
            raise InputError(
                f"runtime onnxruntime: the model that {file.tool} wrote is an {file.format} file; "
                f"use the runtime {file.format!r}"
            )
        return self.session(next(iter(file.parts.values())))

    def session(self, content: bytes) -> OnnxruntimePredictor:
        """Return a predictor of the bytes of an ONNX file.

        Raises:
            InputError: it keeps tensors in files of their own.
        """
        require_one_file(content)
        return self._session(content)

    def _compiled(
        self, prepared: PreparedModel, parameters: QuantizationParameters | None
    ) -> OnnxruntimePredictor:
        graph = float_graph(*graph_source(prepared, parameters), self.opset)
        model = graph.model
        if parameters is not None:
            model = quantized_graph(graph, prepared, parameters)
        return self._session(model.SerializeToString(deterministic=True))

    def _session(self, content: bytes) -> OnnxruntimePredictor:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = SERIOUS
        options.use_deterministic_compute = True
        # By default layers with integer weights and float input choose scales of their own.
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
        levels = onnxruntime.GraphOptimizationLevel
        whole = self.optimization == "all"
        options.graph_optimization_level = (
            levels.ORT_ENABLE_ALL if whole else levels.ORT_DISABLE_ALL
        )
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        return OnnxruntimePredictor(session, content)
