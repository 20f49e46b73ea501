import numpy as np
import onnx
import pytest
import torch
import torchvision
from safetensors.torch import load_file
from tests.runtimes.files import write_onnx, write_other_onnx

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.datasets import FloatModelDataset
from ptq_pipeline.models import Preprocessing, resnet20
from ptq_pipeline.models.loading import load_float_model, prepared_model
from ptq_pipeline.models.onnx_file import network_of_onnx
from ptq_pipeline.ptq import as_tensor_batches, method_from_json, prepare, quantize_model
from ptq_pipeline.ptq.export import export_onnx
from ptq_pipeline.runtimes import OpenvinoRuntime, SimulatedRuntime

GREY = Preprocessing((0.5,), (0.5,))
CLASSES = [str(number) for number in range(10)]


@pytest.fixture(scope="module")
def reference(project, tmp_path_factory):
    """The reference network, and the same as an ONNX file."""
    network = resnet20()
    weights = load_file(project / "data/06_models/reference/resnet20.safetensors")
    network.load_state_dict(weights, strict=False)
    network.eval()
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    path.write_bytes(export_onnx(prepare(network, torch.zeros(2, 1, 28, 28)), None))
    return network, path


def images(count=32, shape=(1, 28, 28)):
    return np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)


def test_an_onnx_file_is_a_float_model_that_the_engine_quantizes(reference):
    network, path = reference
    entry = {"mean": [0.5], "std": [0.5]}
    model = FloatModelDataset(weights=str(path), preprocessing=entry, classes=CLASSES).load()
    given = images()
    with torch.inference_mode():
        expected = network(torch.from_numpy(given)).numpy()
        found = model.module(torch.from_numpy(given)).numpy()
    assert np.abs(found - expected).max() < 1e-4
    method = method_from_json({"name": "nearest"})
    own = prepare(network, torch.from_numpy(given[:2]))
    other = prepared_model(model, (1, 28, 28))
    outputs = [
        SimulatedRuntime().compile(
            each, quantize_model(each, as_tensor_batches(given), method, seed=0)
        )
        for each in (own, other)
    ]
    assert np.allclose(outputs[0](given), outputs[1](given), atol=1e-4)
    served = OpenvinoRuntime(threads=1).compile(
        other, quantize_model(other, as_tensor_batches(given), method, seed=0)
    )
    assert (served(given).argmax(1) == outputs[1](given).argmax(1)).mean() > 0.95


def test_the_content_is_part_of_the_identity(reference, tmp_path):
    path = reference[1]
    model = load_float_model("onnx", path, GREY, CLASSES)
    assert load_float_model("onnx", path, GREY, CLASSES).fingerprint == model.fingerprint
    other = tmp_path / "other.onnx"
    changed = onnx.load(path)
    changed.doc_string = "other"
    onnx.save(changed, other)
    assert load_float_model("onnx", other, GREY, CLASSES).fingerprint != model.fingerprint
    with pytest.raises(InputError, match="sha256"):
        load_float_model("onnx", path, GREY, CLASSES, sha256={"weights": "0" * 64})


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_torchvision_networks_answer_as_onnx_runtime_does(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = torchvision.models.get_model(name).eval()
    # For one image, as exporters do unless they are told otherwise.
    path, shape = tmp_path / "m.onnx", (1, 3, 64, 64)
    torch.onnx.export(network, torch.zeros(shape), path, dynamo=False, opset_version=17)
    converted = network_of_onnx(path.read_bytes(), path)
    given = images(3, shape[1:])
    session = onnxruntime.InferenceSession(path)
    taken = session.get_inputs()[0].name
    expected = np.concatenate([session.run(None, {taken: each[None]})[0] for each in given])
    with torch.inference_mode():
        found = converted(torch.from_numpy(given)).numpy()
    assert np.abs(found - expected).max() < 1e-4 * max(1, np.abs(expected).max())


class Reshaped(torch.nn.Module):
    """Its exporter writes the number of images into a reshape, or into what it is mixed with."""

    def __init__(self, mixed):
        super().__init__()
        self.layer = torch.nn.Linear(192, 3)
        self.mixed = mixed

    def forward(self, images):
        flat = images.reshape(images.shape[0], -1)
        if self.mixed:
            flat = images.reshape(-1, images.shape[0]).reshape(192, images.shape[0]).t()
        return self.layer(flat)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_file_made_for_a_number_of_images_serves_any(tmp_path, batch):
    path = tmp_path / "m.onnx"
    for mixed in (False, True):
        network = Reshaped(mixed).eval()
        torch.onnx.export(network, torch.zeros(batch, 3, 8, 8), path, dynamo=False)
        if mixed:
            with pytest.raises(InputError, match=f"for {batch} images at a time; export it with"):
                network_of_onnx(path.read_bytes(), path)
            continue
        given = torch.from_numpy(images(6, (3, 8, 8)))
        with torch.inference_mode():
            found, expected = network_of_onnx(path.read_bytes(), path)(given), network(given)
        assert torch.allclose(found, expected, atol=1e-5)


def test_files_that_cannot_be_converted_are_refused_in_one_sentence(reference, tmp_path):
    write_onnx(tmp_path / "two.onnx", inputs=2)
    write_onnx(tmp_path / "away.onnx", external="../elsewhere.bin")
    write_other_onnx(tmp_path / "flat.onnx", [None, 10])
    (tmp_path / "text.onnx").write_text("no model")
    for name, message in {
        "two.onnx": "has 2 inputs and 1 outputs",
        "away.onnx": "tensor 'w' is in another file, '../elsewhere.bin'",
        "flat.onnx": "an input of 2 dimensions; images have four",
        "text.onnx": "is no ONNX model",
        "no.onnx": "does not exist",
    }.items():
        with pytest.raises(InputError, match=message) as refused:
            load_float_model("onnx", tmp_path / name, GREY, CLASSES)
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="leave 'factory' out"):
        load_float_model("ptq_pipeline.models.resnet20", reference[1], GREY, CLASSES)
