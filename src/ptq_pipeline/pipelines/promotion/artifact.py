"""The candidate's model files, built by the same calls as its trial."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ptq_pipeline.artifact import GRAPH, ONNX, PARAMETERS, WEIGHTS
from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.core.errors import PtqPipelineError

if TYPE_CHECKING:
    from ptq_pipeline.ptq import PreparedModel, QuantizationParameters
    from ptq_pipeline.trials.execution import TrialRunner

CHECKED_IMAGES = 64


def build_artifact(
    runner: "TrialRunner",
    calibration: CalibrationSet,
    facts: Mapping[str, str],
    opset: int | None = None,
) -> dict[str, bytes]:
    """Quantize the float model and return its files by name; equal inputs give equal bytes.

    The runner is that of the trial: it quantizes with the statistics that its trials share.

    Returns:
        ``quantization.safetensors``: codes, scales and zero points of every layer, as
        ``QuantizationParameters.to_arrays`` names them. ``model.xml`` and ``model.bin``: OpenVINO
        IR with int8 weights and a FakeQuantize operation in front of each layer; its input is what
        the preprocessing gives. ``model.onnx``: the same model in QDQ form, with ``facts`` about
        its origin; see `ptq_pipeline.ptq.export`. A file that another tool wrote is the only one.

    Raises:
        PtqPipelineError: if the written model answers differently from the one in memory.
    """
    from safetensors.numpy import save

    from ptq_pipeline.ptq.export import DEFAULT_OPSET, export_onnx

    set_id, images = calibration.set_id, np.asarray(calibration.images)
    facts = {**facts, "calibration_set": set_id}
    workload, parameters = runner.workload, runner.quantize(set_id, images)
    if parameters.file is not None:
        return dict(parameters.file.parts)
    opset = DEFAULT_OPSET if opset is None else opset
    # No metadata: safetensors writes several entries in random order, so bytes would differ.
    return {
        PARAMETERS: save(parameters.to_arrays()),
        **_openvino_files(
            workload.prepared, parameters, workload.model.preprocessing(images[:CHECKED_IMAGES])
        ),
        ONNX: export_onnx(workload.prepared, parameters, facts, opset),
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
