import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import Preprocessing, load_float_model, resnet20, run_in_batches

CLASSES = tuple("abcdefghij")
FACTORY = "ptq_pipeline.models.resnet20"
GREY = Preprocessing((0.286,), (0.353,))


@pytest.fixture
def weights(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = resnet20().state_dict()
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    return path


def test_loads_and_identifies_the_model(weights):
    model = load_float_model(FACTORY, weights, GREY, CLASSES)
    assert not model.module.training
    again = load_float_model(FACTORY, weights, GREY, CLASSES)
    other = load_float_model(FACTORY, weights, Preprocessing((0.3,), (0.353,)), CLASSES)
    assert model.fingerprint == again.fingerprint != other.fingerprint


def test_loading_leaves_the_global_generator_alone(weights):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_float_model(FACTORY, weights, GREY, CLASSES)
    assert torch.equal(torch.rand(3), expected)


def test_runs_in_batches_and_keeps_penultimate_features(weights):
    model = load_float_model(FACTORY, weights, GREY, CLASSES)
    images = np.random.default_rng(0).integers(0, 256, (11, 1, 28, 28), dtype=np.uint8)
    logits, features = run_in_batches(model, images, batch_size=4)
    assert logits.shape == (11, 10)
    assert features.shape == (11, 64)
    linear = model.module.classifier
    np.testing.assert_allclose(
        features @ linear.weight.numpy().T + linear.bias.numpy(), logits, rtol=1e-4, atol=1e-5
    )
    assert run_in_batches(model, images[:0])[0].shape == (0, 10)


def test_weights_of_another_network_are_refused(weights):
    with pytest.raises(InputError, match="does not fit factory"):
        load_float_model("ptq_pipeline.models.mobilenet_v2_small", weights, GREY, CLASSES)


def test_weights_of_other_shapes_are_refused(weights):
    with pytest.raises(InputError, match="does not fit factory"):
        load_float_model(FACTORY, weights, GREY, CLASSES, {"classes": 7})


def half(**arguments):
    return resnet20(**arguments).half()


def test_a_network_in_half_precision_is_refused_and_weights_in_half_precision_are_not(
    weights, monkeypatch
):
    state = load_file(weights)
    save_file({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, weights)
    model = load_float_model(FACTORY, weights, GREY, CLASSES)
    assert model.module.conv1.weight.dtype == torch.float32
    monkeypatch.setattr("ptq_pipeline.models.resnet20", half)
    with pytest.raises(InputError, match=r"'conv1.weight' is torch.float16; only float32"):
        load_float_model(FACTORY, weights, GREY, CLASSES)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_name_the_tensor(weights, value):
    state = resnet20().state_dict()
    state["classifier.bias"][3] = value
    save_file(state, weights)
    with pytest.raises(InputError, match=r"classifier\.bias.*NaN or infinite"):
        load_float_model(FACTORY, weights, GREY, CLASSES)


def test_a_truncated_weights_file_is_named(weights):
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        load_float_model(FACTORY, weights, GREY, CLASSES)


def test_a_pickle_is_not_executed(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(resnet20(), path)
    with pytest.raises(InputError, match="cannot be read"):
        load_float_model(FACTORY, path, GREY, CLASSES)


def test_infinite_activations_are_an_error(weights):
    state = resnet20().state_dict()
    state["conv1.weight"] *= 1e38
    state["bn1.weight"] *= 1e30
    save_file(state, weights)
    model = load_float_model(FACTORY, weights, GREY, CLASSES)
    with pytest.raises(InputError, match="NaN or infinite logits"):
        run_in_batches(model, np.full((2, 1, 28, 28), 255, np.uint8))


def test_number_of_classes_must_agree(weights):
    model = load_float_model(FACTORY, weights, GREY, CLASSES[:9])
    with pytest.raises(InputError, match="9 classes are declared"):
        run_in_batches(model, np.zeros((1, 1, 28, 28), np.uint8))


@pytest.mark.parametrize("flip", range(0, 1_000_000, 99_991))
def test_a_flipped_bit_of_the_weights_is_found_by_their_declared_hash(weights, flip):
    content = bytearray(weights.read_bytes())
    declared = {"weights": hashlib.sha256(content).hexdigest()}
    load_float_model(FACTORY, weights, GREY, CLASSES, sha256=declared)
    content[flip % len(content)] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="is not the file that its 'sha256' declares"):
        load_float_model(FACTORY, weights, GREY, CLASSES, sha256=declared)


def test_the_hashes_of_training_images_are_held_against_their_own(weights, tmp_path):
    path = tmp_path / "hashes.npy"
    np.save(path, np.arange(3, dtype=np.uint64))
    declared = {"training_hashes": hashlib.sha256(path.read_bytes()).hexdigest()}
    model = load_float_model(FACTORY, weights, GREY, CLASSES, training_hashes=path, sha256=declared)
    assert model.training_keys.tolist() == [0, 1, 2]
    np.save(path, np.arange(1, 4, dtype=np.uint64))
    with pytest.raises(InputError, match=r"hashes\.npy' is not the file"):
        load_float_model(FACTORY, weights, GREY, CLASSES, training_hashes=path, sha256=declared)
    path.write_bytes(b"no array")
    with pytest.raises(InputError, match=r"training hashes .*hashes\.npy' cannot be read"):
        load_float_model(FACTORY, weights, GREY, CLASSES, training_hashes=path)


def test_preprocessing_normalises_per_channel():
    both = Preprocessing((0.0, 0.5), (1.0, 0.25))
    batch = both(np.full((1, 2, 1, 1), 255, np.uint8))
    assert batch.dtype == np.float32
    assert batch.ravel().tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="std must be positive"):
        Preprocessing((0.0,), (0.0,))
