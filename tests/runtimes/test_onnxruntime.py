from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.processor import EXACT_BITS

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import Preprocessing
from ptq_pipeline.ptq import (
    MethodSpec,
    PreparedModel,
    QuantizationParameters,
    as_tensor_batches,
    calibrate,
)
from ptq_pipeline.ptq.export import export_onnx, require_one_file
from ptq_pipeline.ptq.ranges import Mse
from ptq_pipeline.runtimes import (
    OnnxruntimeRuntime,
    OpenvinoRuntime,
    Runtime,
    SimulatedRuntime,
    predict_top1,
)
from ptq_pipeline.runtimes.onnxruntime import SERIOUS, OnnxruntimePredictor, import_onnxruntime

Calibrated = Callable[[MethodSpec], QuantizationParameters]
METHODS = [
    MethodSpec(EXACT_BITS, 8),
    MethodSpec(EXACT_BITS, 4),
    MethodSpec(4, 6, Mse(), Mse()),
    MethodSpec(3, 5),
    MethodSpec(4, 4),
]
NAMES = [f"w{EXACT_BITS}a8", f"w{EXACT_BITS}a4", "w4a6-mse", "w3a5", "w4a4"]


def executed_operators(predictor: OnnxruntimePredictor, folder: Path) -> dict[str, int]:
    """What ONNX Runtime really executes: operator to count after its optimization."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SERIOUS
    options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
    onnxruntime.InferenceSession(predictor.content, options, ["CPUExecutionProvider"])
    counts: dict[str, int] = {}
    for node in onnx.load(options.optimized_model_filepath).graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))


def test_the_float_model_equals_torch(
    prepared: PreparedModel, pixels: np.ndarray, preprocessing: Preprocessing
) -> None:
    batch = preprocessing(pixels[:50])
    expected = SimulatedRuntime().compile(prepared, None)(batch)
    got = OnnxruntimeRuntime(threads=1).compile(prepared, None)(batch)
    assert np.allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_without_optimization_it_is_the_simulation(
    trained: PreparedModel,
    pixels: np.ndarray,
    preprocessing: Preprocessing,
    runtime_of: Callable[[str], Runtime],
    method: MethodSpec,
) -> None:
    parameters = calibrate(trained, as_tensor_batches(preprocessing(pixels[-100:])), method)
    batch = preprocessing(pixels[:200])
    expected = SimulatedRuntime().compile(trained, parameters)(batch)
    got = runtime_of("onnxruntime-none").compile(trained, parameters)(batch)
    # Half of all logits to float rounding; the rest behind a value on the edge of two codes.
    difference = np.abs(got - expected) / expected.std()
    assert np.median(difference) < 1e-4
    assert (got.argmax(1) == expected.argmax(1)).mean() >= 0.995


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_integer_kernels_agree_with_the_simulation(
    trained: PreparedModel,
    pixels: np.ndarray,
    preprocessing: Preprocessing,
    runtime_of: Callable[[str], Runtime],
    method: MethodSpec,
) -> None:
    parameters = calibrate(trained, as_tensor_batches(preprocessing(pixels[-100:])), method)
    compiled = (
        SimulatedRuntime().compile(trained, parameters),
        runtime_of("onnxruntime").compile(trained, parameters),
    )
    simulated, executed = (predict_top1(each, pixels[:1000], preprocessing) for each in compiled)
    assert len(np.unique(simulated)) == 10
    assert (simulated == executed).mean() >= 0.995


def test_the_file_is_executed_as_it_was_compiled(
    prepared: PreparedModel,
    calibrated: Calibrated,
    pixels: np.ndarray,
    preprocessing: Preprocessing,
    tmp_path: Path,
) -> None:
    batch = preprocessing(pixels[:30])
    parameters = calibrated(MethodSpec(4, 8))
    runtime = OnnxruntimeRuntime(threads=1)
    file = tmp_path / "model.onnx"
    file.write_bytes(export_onnx(prepared, parameters))
    predictor = runtime.compile(prepared, parameters)
    assert np.array_equal(runtime.load(file)(batch), predictor(batch))
    # Answers of an image do not depend on which batch it is in.
    assert np.array_equal(predictor(batch[7:12]), predictor(batch)[7:12])
    # Convolutions that a quantizer follows run on integers.
    assert executed_operators(predictor, tmp_path)["QLinearConv"] > 0


def test_four_bit_types_are_executed(
    prepared: PreparedModel,
    calibrated: Calibrated,
    pixels: np.ndarray,
    preprocessing: Preprocessing,
) -> None:
    batch = preprocessing(pixels[:100])
    parameters = calibrated(MethodSpec(4, 4))
    expected = SimulatedRuntime().compile(prepared, parameters)(batch)
    content = export_onnx(prepared, parameters, opset=21, int4=True)
    # Its optimizer fails on a clip, as of ReLU6, in front of a quantizer of 4 bits.
    clips = b"Clip" in content
    for optimization in ("none",) if clips else ("none", "all"):
        runtime = OnnxruntimeRuntime(threads=1, optimization=optimization)
        got = runtime.session(content)(batch)
        assert np.median(np.abs(got - expected)) < 1e-3 * expected.std()


def test_openvino_reads_the_same_file(
    trained: PreparedModel, pixels: np.ndarray, preprocessing: Preprocessing, tmp_path: Path
) -> None:
    parameters = calibrate(trained, as_tensor_batches(preprocessing(pixels[-100:])), MethodSpec())
    file = tmp_path / "model.onnx"
    file.write_bytes(export_onnx(trained, parameters))
    predictor = OpenvinoRuntime(threads=1).load(file)
    expected = SimulatedRuntime().compile(trained, parameters)
    first, second = (predict_top1(p, pixels[:1000], preprocessing) for p in (predictor, expected))
    assert (first == second).mean() >= 0.995


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "runs on the cpu only"),
        ({"optimization": "some"}, "must be 'all' or 'none'"),
        ({"threads": 0}, "threads must be at least 1"),
    ],
)
def test_options_that_do_not_exist(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        OnnxruntimeRuntime(**options)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.onnx is missing"):
        OnnxruntimeRuntime().load(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(InputError, match="cannot be read"):
        OnnxruntimeRuntime().load(tmp_path / "model.onnx")


@pytest.mark.parametrize("runtime", [OnnxruntimeRuntime, OpenvinoRuntime])
def test_a_file_that_keeps_tensors_elsewhere_is_refused(
    trained: PreparedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    runtime: type[OnnxruntimeRuntime] | type[OpenvinoRuntime],
) -> None:
    import onnx

    model = onnx.load_from_string(export_onnx(trained, None))
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    # Without the check both would take the file from where they are started.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"cannot be read: its tensor .* file, 'weights\.bin'"):
        runtime(threads=1).load(path)
    with pytest.raises(InputError, match=r"no hash of the model covers; save the model as one"):
        OnnxruntimeRuntime(threads=1).session(path.read_bytes())


def test_tensors_inside_subgraphs_are_seen() -> None:
    import onnx
    from onnx import helper

    hidden = helper.make_tensor("hidden", onnx.TensorProto.FLOAT, [1], [1.0])
    hidden.data_location = onnx.TensorProto.EXTERNAL
    branch = helper.make_graph([], "branch", [], [], [hidden])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    content = helper.make_model(helper.make_graph([node], "g", [], [])).SerializeToString()
    with pytest.raises(InputError, match="its tensor 'hidden' is in another file"):
        require_one_file(content)
    with pytest.raises(InputError, match="it is no ONNX model"):
        require_one_file(b"no model")
