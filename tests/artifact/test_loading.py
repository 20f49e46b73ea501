"""One class loads what ships, and a champion of each kind can be watched in its own runtime."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from ptq_pipeline.artifact import GRAPH, ONNX, PARAMETERS, WEIGHTS
from ptq_pipeline.artifact.loading import Artifact
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import TRIAL_FILE
from ptq_pipeline.models.loading import prepared_model
from ptq_pipeline.monitoring.clipping import CLIP_MEAN
from ptq_pipeline.monitoring.measuring import SERVED, ServedModel, with_served_columns
from ptq_pipeline.monitoring.parameters import DriftParameters, MonitoringParameters
from ptq_pipeline.ptq import as_tensor_batches, find_method, method_from_json
from ptq_pipeline.ptq.export import export_onnx
from ptq_pipeline.runtimes import build_runtime, predict_top1
from ptq_pipeline.runtimes.openvino import save as save_openvino

SHAPE = (1, 16, 16)
OURS, ORT_STATIC, NNCF = {}, {"name": "onnxruntime_static"}, {"name": "nncf"}
KINDS = {
    "openvino": (OURS, "openvino"),
    "onnxruntime QDQ": (OURS, "onnxruntime"),
    "simulated": (OURS, "simulated"),
    "onnxruntime_static": (ORT_STATIC, "onnxruntime"),
    "onnxruntime_static in OpenVINO": (ORT_STATIC, "openvino"),
    "onnxruntime_static as ONNX defines it": (ORT_STATIC, "simulated"),
    "nncf": (NNCF, "openvino"),
}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, *SHAPE)).astype(np.uint8)


@pytest.fixture(scope="module")
def quantized(random_model, images):
    """By method: the float model as the engine sees it, and what each quantizer made of it."""
    prepared = prepared_model(random_model, SHAPE)
    batches = as_tensor_batches(random_model.preprocessing(images[:32]))

    def made(method):
        config = method_from_json(method)
        return find_method(config.name).run(prepared, batches, config, 0)

    return prepared, {name: made(method) for name, (method, _) in KINDS.items()}


def version(folder: Path, prepared, parameters, runtime, method) -> Artifact:
    """Write what a promotion writes of a model."""
    folder.mkdir(exist_ok=True)
    if parameters.file is not None:
        for name, content in parameters.file.parts.items():
            (folder / name).write_bytes(content)
    else:
        (folder / PARAMETERS).write_bytes(save(parameters.to_arrays()))
        (folder / ONNX).write_bytes(export_onnx(prepared, parameters))
        save_openvino(build_runtime("openvino").compile(prepared, parameters), folder / GRAPH)
    spec = {"runtime": runtime.description(), "method": method}
    (folder / TRIAL_FILE).write_text(json.dumps({"trial_id": "ab", "spec": spec}))
    return Artifact.of_version("v0001", folder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_champion_of_each_kind_is_watched_in_its_own_runtime(
    kind, quantized, random_model, images, tmp_path
):
    method, name = KINDS[kind]
    prepared, by_kind = quantized
    runtime = build_runtime(name)
    artifact = version(tmp_path, prepared, by_kind[kind], runtime, method)
    assert artifact.runtime.name == name
    served = ServedModel.load(artifact, random_model, SHAPE)
    judged = runtime.compile(prepared, by_kind[kind])
    expected = predict_top1(judged, images, random_model.preprocessing)
    np.testing.assert_array_equal(served.answers(images), expected)
    table = served.profile(images)
    assert table[SERVED].tolist() == expected.tolist()
    # Only a model of our own says from where on it cuts off.
    ours = method == OURS
    assert (CLIP_MEAN in table) == ours
    brightness = {"brightness": {"method": "wasserstein", "threshold": 0.1}}
    drift = DriftParameters(seed=0, alpha=0.05, resamples=400, windows=(), columns=brightness)
    columns = with_served_columns(drift, table, MonitoringParameters()).columns
    assert SERVED in columns and (CLIP_MEAN in columns) == ours
    plain = predict_top1(served.float_predictor(), images, random_model.preprocessing)
    floating = runtime.compile(prepared, None)
    assert (plain == predict_top1(floating, images, random_model.preprocessing)).all()


def test_the_runtime_has_the_options_of_the_trial(quantized, tmp_path):
    prepared, by_kind = quantized
    runtime = build_runtime("onnxruntime", threads=1, optimization="none", opset=20)
    artifact = version(tmp_path, prepared, by_kind["openvino"], runtime, OURS)
    assert artifact.runtime.options == runtime.options


def test_files_that_name_no_trial_are_served_by_what_they_are(quantized, tmp_path):
    prepared, by_kind = quantized
    version(tmp_path, prepared, by_kind["openvino"], build_runtime("openvino"), OURS)
    for gone, expected in ((TRIAL_FILE, "openvino"), (GRAPH, "onnxruntime"), (ONNX, "simulated")):
        (tmp_path / gone).unlink()
        assert Artifact.of_version("v0001", tmp_path).runtime.name == expected


def test_damaged_files_are_named_with_a_way_out(quantized, random_model, tmp_path):
    prepared, by_kind = quantized
    artifact = version(tmp_path, prepared, by_kind["openvino"], build_runtime("openvino"), OURS)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"model\.bin is missing"):
        ServedModel.load(artifact, random_model, SHAPE)
    (tmp_path / PARAMETERS).write_bytes(b"no safetensors")
    with pytest.raises(InputError, match="version v0001.*kedro ptq rollback"):
        artifact.parameters  # noqa: B018
    (tmp_path / PARAMETERS).unlink()
    with pytest.raises(InputError, match="'quantization.safetensors' is missing or damaged"):
        Artifact.of_version("v0001", tmp_path).parameters  # noqa: B018
    (tmp_path / TRIAL_FILE).write_text("{")
    with pytest.raises(InputError, match="version v0001.*kedro ptq verify"):
        Artifact.of_version("v0001", tmp_path).runtime  # noqa: B018


def test_a_folder_without_a_model_says_so(random_model, tmp_path):
    with pytest.raises(InputError, match="has no model file"):
        Artifact.of_version("v0001", tmp_path).predictor(random_model, SHAPE)


def test_a_file_of_a_tool_is_served_whatever_version_is_installed_now(quantized, tmp_path):
    prepared, by_kind = quantized
    of_then = {"name": "nncf", "tool_version": "0.1"}
    artifact = version(tmp_path, prepared, by_kind["nncf"], build_runtime("openvino"), of_then)
    assert artifact.parameters is None
