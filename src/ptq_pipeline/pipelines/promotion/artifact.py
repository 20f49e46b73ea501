"""The candidate's model files, built by the same calls as its trial."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ptq_pipeline.artifact import GRAPH, ONNX, PARAMETERS, WEIGHTS
from ptq_pipeline.core.errors import PtqPipelineError

if TYPE_CHECKING:
    from ptq_pipeline.models import FloatModel
    from ptq_pipeline.ptq import PreparedModel, QuantizationParameters
    from ptq_pipeline.trials.execution import TrialRunner

CHECKED_IMAGES = 64


def build_artifact(
    model: "FloatModel",
    set_id: str,
    images: np.ndarray,
    facts: Mapping[str, str],
    runner: "TrialRunner",
    opset: int | None = None,
) -> dict[str, bytes]:
    """Quantize ``model`` and return its files by name; equal inputs give equal bytes.

    Args:
        model: the float model.
        set_id: id of the calibration set; with model and method it seeds what is random.
        images: uint8 calibration images ``(n, C, H, W)``.
        facts: what the ONNX file says about its origin.
        runner: of the trial: it quantizes with the statistics that its trials share.
        opset: of the ONNX file; the default of `export_onnx` when left out.

    Returns:
        ``quantization.safetensors``: codes, scales and zero points of every layer, as
        ``QuantizationParameters.to_arrays`` names them. ``model.xml`` and ``model.bin``: OpenVINO
        IR with int8 weights and a FakeQuantize operation in front of each layer; its input is what
        the preprocessing gives. ``model.onnx``: the same model in QDQ form, for other consumers;
        see `ptq_pipeline.ptq.export`. A file that another tool wrote stands alone.

    Raises:
        PtqPipelineError: if the written model answers differently from the one in memory.
    """
    from safetensors.numpy import save

    from ptq_pipeline.ptq.export import DEFAULT_OPSET, export_onnx

    inputs = model.preprocessing(np.asarray(images))
    prepared, parameters = runner.prepared, runner.quantize(set_id, images)
    if parameters.file is not None:
        return dict(parameters.file.parts)
    opset = DEFAULT_OPSET if opset is None else opset
    # No metadata: safetensors writes several entries in random order, so bytes would differ.
    return {
        PARAMETERS: save(parameters.to_arrays()),
        **_openvino_files(prepared, parameters, inputs[:CHECKED_IMAGES]),
        ONNX: export_onnx(prepared, parameters, {**facts, "calibration_set": set_id}, opset),
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
        if not np.array_equal(audited(inputs).argmax(1), served(inputs).argmax(1)):
            raise PtqPipelineError(
                "the exported OpenVINO model answers differently from the audited one on its own "
                "calibration images; report the versions in provenance.json as a bug"
            )
        # Windows does not delete files that a mapped model still holds.
        del served
        return {name: path.with_name(name).read_bytes() for name in (GRAPH, WEIGHTS)}
