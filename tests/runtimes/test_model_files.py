from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from tests.runtimes.files import (
    SIDE,
    write_onnx,
    write_openvino,
    write_other_onnx,
    write_tflite,
)

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.runtimes.model_files import ModelInput, open_model

WRITERS = {
    "m.onnx": write_onnx,
    "last.onnx": lambda path, t=0.5: write_onnx(path, t, channels_last=True),
    "m.tflite": write_tflite,
    "int8.tflite": lambda path, t=0.5: write_tflite(path, t, integer=True),
    "m.xml": write_openvino,
}


def images(count=100):
    levels = np.linspace(0, 1, count, dtype=np.float32)
    noise = np.random.default_rng(0).normal(0, 0.02, (count, 1, SIDE, SIDE)).astype(np.float32)
    noise -= noise.mean(axis=(2, 3), keepdims=True)
    return np.clip(levels[:, None, None, None] + noise, 0, 1)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_every_kind_of_file_gives_the_answers_of_the_formula(tmp_path, name, threshold):
    WRITERS[name](tmp_path / name, threshold)
    model = open_model(tmp_path / name)
    assert model.input.shape == (1, SIDE, SIDE)
    assert model.input.channels_last == (name not in ("m.onnx", "m.xml"))
    assert (model.input.quantization is not None) == name.startswith("int8")
    given = images()
    mean = given.mean(axis=(1, 2, 3))
    # Integers round, so images at the threshold may fall to either side.
    clear = np.abs(mean - threshold) > 0.02
    expected = np.where(mean > threshold, 0, 1)
    assert (model.answers(given, 2)[clear] == expected[clear]).all()
    assert len(model.sha256) == 64 and " " in model.runtime


def test_integers_without_a_scale_take_whole_pixels_only():
    taken = ModelInput((1, 1, 2), channels_last=False, dtype=np.dtype("uint8"), batch=None)
    assert taken.arranged(pixels(0, 255)).tolist() == [[[[0, 255]]]]
    # As they are scaled by default, all would have become 0 or 1; below 0 they would wrap around.
    for prepared in (pixels(0.2, 1), pixels(-1, 1), pixels(0, 300)):
        with pytest.raises(
            InputError, match="input is uint8 without a scale.*leave them at 0 to 255"
        ):
            taken.arranged(prepared)


def pixels(*values):
    return np.array(values, np.float32).reshape(1, 1, 1, -1)


def test_the_content_names_a_file(tmp_path):
    write_onnx(tmp_path / "a.onnx")
    write_onnx(tmp_path / "b.onnx", 0.3)
    found = [open_model(tmp_path / name).sha256 for name in ("a.onnx", "b.onnx")]
    assert found[0] != found[1]


def test_files_that_are_no_classifier_are_refused_in_one_sentence(tmp_path):
    write_onnx(tmp_path / "two.onnx", inputs=2)
    write_tflite(tmp_path / "two.tflite", inputs=2)
    write_onnx(tmp_path / "away.onnx", external="../elsewhere.bin")
    write_other_onnx(tmp_path / "flat.onnx", [None, 10])
    write_other_onnx(tmp_path / "deep.onnx", [None, 16, 16, 16])
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "text.tflite").write_text("no model")
    (tmp_path / "alone.xml").write_text("<net/>")
    for name, message in {
        "two.onnx": "has 2 inputs and 1 outputs; a classifier",
        "two.tflite": "has 2 inputs and 1 outputs; a classifier",
        "away.onnx": "tensor 'w' is in another file, '../elsewhere.bin'",
        "flat.onnx": "has an input of 2 dimensions",
        "deep.onnx": "neither the second nor the last side is 1 or 3 channels",
        "text.onnx": "is no ONNX model|cannot be run",
        "text.tflite": "cannot be run by LiteRT",
        "alone.xml": "weights in '.*alone.bin', which does not exist",
        "no.onnx": "does not exist",
        "model.pt": "is no model file; give one of .onnx, .tflite, .xml",
    }.items():
        with pytest.raises(InputError, match=message) as refused:
            open_model(tmp_path / name)
        assert "\n" not in str(refused.value)


def test_an_output_that_is_no_row_for_each_image_is_refused(tmp_path):
    write_other_onnx(tmp_path / "sum.onnx", [None, 1, SIDE, SIDE])
    with pytest.raises(InputError, match=r"an output of shape \(\) for 64 images; a classifier"):
        open_model(tmp_path / "sum.onnx").answers(images(), 2)
    # A map of scores is no row of them, although it could be laid out as one.
    model = open_model(tmp_path / "sum.onnx")
    for shape, fine in (((64, 2, 1, 1), True), ((64, 1, 1, 2), True), ((64, 2, 4, 4), False)):
        other = replace(model, run=lambda batch, shape=shape: np.zeros(shape))
        with nullcontext() if fine else pytest.raises(InputError, match="one row of class scores"):
            assert not other.answers(images(64), 2).any()


def test_outputs_are_as_many_as_classes_and_what_a_runtime_says_is_one_sentence(tmp_path):
    write_onnx(tmp_path / "m.onnx")
    model = open_model(tmp_path / "m.onnx")
    with pytest.raises(InputError, match="tells 2 classes apart, and the images have 3; give the"):
        model.answers(images(), 3)
    with pytest.raises(InputError, match=r"cannot be run on images of shape \(1, 9, 9\): .*$"):
        model.answers(np.zeros((4, 1, 9, 9), np.float32), 2)
