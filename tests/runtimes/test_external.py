"""A command as a runtime; an example script stands for a device on a cable."""

import sys
import time

import numpy as np
import pytest
import torch
from tests.adapters.test_external import configured as quantizer
from torch import nn

from ptq_pipeline.adapters.external import METHOD
from ptq_pipeline.core.errors import DeviceError, InputError
from ptq_pipeline.ptq import MethodSpec, ModelFile, as_tensor_batches, prepare, quantize_model
from ptq_pipeline.runtimes import OnnxruntimeRuntime, build_runtime, predict_top1

PLACES = "{model} {images} {output}"
WRITES = "import sys, numpy as np; images = np.load(sys.argv[2]); np.save(open(sys.argv[3], 'wb'), "


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), np.uint8)


def scaled(images):
    return (images / np.float32(255)).astype(np.float32)


@pytest.fixture(scope="module")
def prepared(images):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    return prepare(network.eval(), torch.from_numpy(scaled(images[:2])))


def device(command, **options):
    return build_runtime("external", command=command, tool="phone 1", **options)


def scripted(tmp_path, code, **options):
    script = tmp_path / "s.py"
    script.write_text(code)
    return device(f"{sys.executable} {script} {PLACES}", **options)


def test_a_device_answers_as_onnx_runtime_does_and_the_float_model_runs_in_torch(
    project, prepared, images
):
    pytest.importorskip("onnxruntime")
    runtime = device(f"{sys.executable} {project / 'scripts/external_device.py'} {PLACES}")
    batches = as_tensor_batches(scaled(images[:16]))
    parameters = quantize_model(prepared, batches, MethodSpec(), seed=0)
    own = OnnxruntimeRuntime(threads=1)
    for each in (parameters, None):
        answers = predict_top1(runtime.compile(prepared, each), images, scaled)
        expected = predict_top1(own.compile(prepared, each), images, scaled)
        assert answers.tolist() == expected.tolist()


def test_what_no_runtime_here_reads_is_carried_to_the_device(tmp_path, prepared, images):
    """A tool that gives no model away: the calibration set itself is what the device is given."""
    script = tmp_path / "copy.py"
    script.write_text("import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])")
    method = quantizer(f"{sys.executable} {script} {{calibration}} {{output}}", writes="blob")
    assert METHOD.configure(method.to_json()) == method
    file = METHOD.run(prepared, as_tensor_batches(scaled(images[:8])), method, 0, None).file
    assert (file.format, list(file.parts)) == ("blob", ["model.blob"])
    # It calls bright what is brighter than its calibration images.
    code = WRITES + "(images.mean((1, 2, 3)) > np.load(sys.argv[1]).mean()).astype(int))"
    runtime = scripted(tmp_path, code)
    answers = predict_top1(runtime.execute(file), images, scaled)
    expected = images.mean((1, 2, 3)) > images[:8].mean()
    assert answers.tolist() == expected.astype(int).tolist() and 0 < answers.sum() < 40


def test_it_is_started_once_for_many_images(tmp_path, images):
    count = tmp_path / "count"
    code = f"open({str(count)!r}, 'a').write('.');" + WRITES + "images[:, 0, 0].argmax(1))"
    runtime = scripted(tmp_path, code)
    many = np.repeat(images, 600, axis=0)
    file = ModelFile("t", "blob", {"model.blob": b"x"})
    found = predict_top1(runtime.execute(file), many, scaled, batch_size=len(many))
    assert len(found) == len(many) and count.read_text() == "."


def test_a_saved_file_is_run_and_the_device_is_part_of_a_trials_identity(tmp_path):
    code = WRITES + "np.full(len(images), len(open(sys.argv[1], 'rb').read())))"
    (tmp_path / "model.blob").write_bytes(b"1234")
    first = scripted(tmp_path, code)
    batch = np.zeros((2, 1, 8, 8), np.float32)
    assert first.load(tmp_path / "model.blob")(batch).tolist() == [4, 4]
    assert first.version == "phone 1" and "seconds" not in first.description()
    assert build_runtime("external", **first.options).description() == first.description()
    scripted(tmp_path, "pass")
    with pytest.raises(InputError, match="that its command names have changed since"):
        build_runtime("external", **first.options)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('no device')", "ended with 1: no device"),
        ("pass", "wrote nothing to {output}"),
        ("import sys; open(sys.argv[3], 'w').write('x')", "{output} is no .npy file"),
        (WRITES + "np.zeros(1))", r"float64 of shape \(1,\) for 4 images; write integers \(4,\)"),
        (WRITES + "np.zeros((3, 2)))", r"float64 of shape \(3, 2\) for 4 images"),
        (WRITES + "np.array(['a'] * 4))", r"<U1 of shape \(4,\) for 4 images"),
        (WRITES + "np.array([None] * 4))", "{output} is no .npy file"),
        ("import time; time.sleep(60)", "took more than 1 s"),
    ],
)
def test_a_device_that_gives_no_answers_is_one_sentence(tmp_path, code, message):
    runtime = scripted(tmp_path, code, seconds=1 if "sleep" in code else 60)
    predictor = runtime.execute(ModelFile("t", "blob", {"model.blob": b"x"}))
    with pytest.raises(DeviceError, match=message):
        predictor(np.zeros((4, 1, 8, 8), np.float32))


def test_what_a_command_started_ends_with_it(tmp_path):
    """A child that holds the output open would keep a command alive for as long as it likes."""
    runtime = device(f"sh -c 'sleep 60 & sleep 60' {PLACES}", seconds=0.5)
    predictor = runtime.execute(ModelFile("t", "blob", {"model.blob": b"x"}))
    started = time.monotonic()
    with pytest.raises(DeviceError, match="took more than 0.5 s"):
        predictor(np.zeros((4, 1, 8, 8), np.float32))
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"command": "run {images} {output}"}, "has no place '{model}'"),
        ({"command": f"run {PLACES}", "tool": ""}, "runtime external: name what its command runs"),
        ({"command": "run {seed}"}, "'{seed}'; the places are {model}, {images}, {output}"),
    ],
)
def test_a_command_that_cannot_run_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        build_runtime("external", **{"tool": "phone 1", **options})


def test_a_program_that_is_not_there_is_named():
    runtime = device(f"no-such-program {PLACES}")
    with pytest.raises(DeviceError, match="program 'no-such-program' cannot be started: No such"):
        runtime.execute(ModelFile("t", "blob", {"model.blob": b"x"}))(np.zeros((1, 1, 8, 8)))
