"""What a user would write without this package: three plain loops over draws.

Each is a function from one draw's calibration images to predictions by shift. Models are exported
or converted once, outside the loop; every loop evaluates with two threads in batches of 250, which
is faster for all three than the small batches that this pipeline takes.
"""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from speed_study import THREADS, Study

BATCH = 250
Loop = Callable[[np.ndarray], dict[str, np.ndarray]]


def evaluate(study: Study, predict: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    """Predict every audit image under every shift."""
    found = {}
    for shift, array in study.audit.arrays.items():
        rows = study.audit.rows[shift]
        parts = [
            predict(study.model.preprocessing(array[rows[start : start + BATCH]])).argmax(1)
            for start in range(0, len(rows), BATCH)
        ]
        found[shift] = np.concatenate(parts).astype(np.int16)
    return found


def torch_simulation(study: Study) -> Loop:
    """Fake quantization in torch, calibrated by forward passes in each draw."""
    from ptq_pipeline.ptq import MethodSpec, as_tensor_batches, calibrate, prepare
    from ptq_pipeline.runtimes import build_runtime

    runtime = build_runtime("simulated", threads=THREADS)
    example = torch.from_numpy(study.model.example_input(study.images.shape[1:]))
    prepared, method = prepare(study.model.module, example), MethodSpec()

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        batches = as_tensor_batches(study.model.preprocessing(np.asarray(images)))
        return evaluate(study, runtime.compile(prepared, calibrate(prepared, batches, method)))

    return run


def onnxruntime_static(study: Study) -> Loop:
    """`onnxruntime.quantization.quantize_static`: QDQ, int8 weights per channel, MinMax."""
    import onnxruntime
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logging.getLogger().setLevel(logging.ERROR)
    folder = Path(tempfile.mkdtemp(prefix="bench-onnx-"))
    example = torch.from_numpy(study.model.example_input(study.images.shape[1:]))
    torch.onnx.export(
        study.model.module,
        (example,),
        str(folder / "float.onnx"),
        input_names=["images"],
        dynamic_axes={"images": {0: "n"}},
        dynamo=False,
    )
    quant_pre_process(str(folder / "float.onnx"), str(folder / "ready.onnx"))

    class Reader(CalibrationDataReader):
        def __init__(self, images: np.ndarray) -> None:
            ready = study.model.preprocessing(np.asarray(images))
            self.batches = iter([ready[i : i + 32] for i in range(0, len(ready), 32)])

        def get_next(self) -> dict | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch}

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        quantize_static(
            str(folder / "ready.onnx"),
            str(folder / "quantized.onnx"),
            Reader(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        session = onnxruntime.InferenceSession(
            str(folder / "quantized.onnx"), options, providers=["CPUExecutionProvider"]
        )
        return evaluate(study, lambda batch: session.run(None, {"images": batch})[0])

    return run


def nncf_openvino(study: Study) -> Loop:
    """`nncf.quantize` on the converted model, compiled by OpenVINO with this package's settings."""
    import nncf

    from ptq_pipeline.runtimes.openvino_graph import openvino

    nncf.set_log_level(logging.ERROR)
    shape = study.images.shape[1:]
    example = torch.from_numpy(study.model.example_input(shape))
    model = openvino.convert_model(
        study.model.module,
        example_input=example,
        input=[openvino.PartialShape([-1, *shape])],
    )
    core = openvino.Core()
    config = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": THREADS,
    }

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        ready = study.model.preprocessing(np.asarray(images))
        quantized = nncf.quantize(
            model, nncf.Dataset([image[None] for image in ready]), subset_size=len(ready)
        )
        compiled = core.compile_model(quantized, "CPU", config)
        return evaluate(study, lambda batch: compiled(batch, share_inputs=True)[0])

    return run


LOOPS = {
    "torch_simulation": torch_simulation,
    "onnxruntime_static": onnxruntime_static,
    "nncf_openvino": nncf_openvino,
}
