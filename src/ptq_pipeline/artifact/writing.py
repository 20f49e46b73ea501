"""The files of a quantized model that ships, written from its parameters."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ptq_pipeline.artifact import GRAPH, ONNX, PARAMETERS, WEIGHTS
from ptq_pipeline.core.errors import PtqPipelineError

if TYPE_CHECKING:
    from ptq_pipeline.ptq import PreparedModel, QuantizationParameters

# Share of the largest output by which the written file may differ. What it answers is compared on
# all audit images when it is executed.
DIFFERENCE = 0.01


def artifact_files(
    prepared: "PreparedModel",
    parameters: "QuantizationParameters",
    inputs: np.ndarray,
    facts: Mapping[str, str],
    opset: int | None = None,
) -> dict[str, bytes]:
    """Return the files of a quantized model by name; equal arguments give equal bytes.

    Args:
        prepared: the float model.
        parameters: what quantization decided.
        inputs: float32 ``(n, C, H, W)``, on which files and model are compared.
        facts: what the ONNX file says about its origin.
        opset: of the ONNX file.

    Returns:
        ``quantization.safetensors``: codes, scales and zero points of every layer, as
        ``QuantizationParameters.to_arrays`` names them. ``model.xml`` and ``model.bin``: OpenVINO
        IR with int8 weights and a FakeQuantize operation in front of each layer; its input is what
        the preprocessing gives. ``model.onnx``: the same model in QDQ form, with ``facts`` about
        its origin; see `ptq_pipeline.ptq.export`. A file that another tool wrote is the only one.

    Raises:
        PtqPipelineError: if the model cannot be written, or the written one answers differently
            from the one in memory.
    """
    from safetensors.numpy import save

    from ptq_pipeline.ptq.export import DEFAULT_OPSET, export_onnx

    if parameters.file is not None:
        return dict(parameters.file.parts)
    # No metadata: safetensors writes several entries in random order, so bytes would differ.
    return {
        PARAMETERS: save(parameters.to_arrays()),
        **_openvino_files(prepared, parameters, inputs),
        ONNX: export_onnx(prepared, parameters, facts, DEFAULT_OPSET if opset is None else opset),
    }


def _openvino_files(
    prepared: "PreparedModel", parameters: "QuantizationParameters", inputs: np.ndarray
) -> dict[str, bytes]:
    from ptq_pipeline.runtimes import OpenvinoRuntime
    from ptq_pipeline.runtimes.openvino import save

    runtime = OpenvinoRuntime()
    audited = runtime.compile(prepared, parameters)
    with TemporaryDirectory() as folder:
        path = Path(folder) / GRAPH
        # By default a graph is named by a counter of the process.
        audited.model.set_friendly_name("candidate")
        save(audited, path)
        served = runtime.load(path)
        expected, found = audited(inputs), served(inputs)
        # Not a number is no small difference.
        if not np.abs(found - expected).max() <= DIFFERENCE * np.abs(expected).max():
            raise PtqPipelineError(
                "the exported OpenVINO model answers differently from the audited one on its own "
                "calibration images; report the versions in provenance.json as a bug"
            )
        # Windows does not delete files that a mapped model still holds.
        del served
        return {name: path.with_name(name).read_bytes() for name in (GRAPH, WEIGHTS)}
