"""A command as a method; an example script stands for a vendor's toolchain."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ptq_pipeline.adapters.external import METHOD
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.models import Preprocessing, resnet20
from ptq_pipeline.ptq import as_tensor_batches, prepare
from ptq_pipeline.runtimes import OnnxruntimeRuntime, SimulatedRuntime

COMMAND = f"{sys.executable} {{script}} {{model}} {{calibration}} {{output}}"


@pytest.fixture(scope="module")
def images(raw_data: Path) -> np.ndarray:
    raw = gzip.decompress((raw_data / "fashion_mnist/test/images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(raw, np.uint8, count=200 * 784, offset=16).reshape(-1, 1, 28, 28)
    return Preprocessing((0.286,), (0.353,))(pixels)


@pytest.fixture(scope="module")
def prepared(project, images):
    model = resnet20()
    weights = load_file(project / "data/06_models/reference/resnet20.safetensors")
    model.load_state_dict(weights, strict=False)
    return prepare(model, torch.from_numpy(images[:2]))


def configured(command: str, **options):
    return METHOD.configure({"command": command, "tool": "vendor 1.2", **options})


def command_of(path) -> str:
    return COMMAND.replace("{script}", str(path))


def test_a_command_quantizes_and_its_file_is_executed_as_it_is(project, prepared, images):
    pytest.importorskip("onnxruntime")
    method = configured(command_of(project / "scripts/external_onnxruntime.py"))
    assert METHOD.configure(method.to_json()) == method
    found = METHOD.run(prepared, as_tensor_batches(images[:64]), method, 0, None)
    assert found.file is not None and found.file.tool == "vendor 1.2"
    answers = OnnxruntimeRuntime(threads=1).compile(prepared, found)(images[64:]).argmax(1)
    expected = SimulatedRuntime().compile(prepared, None)(images[64:]).argmax(1)
    assert (answers == expected).mean() > 0.97


def test_the_tool_and_the_content_of_its_script_are_part_of_the_identity(tmp_path):
    script = tmp_path / "s.py"
    script.write_text("1")
    first = configured(command_of(script))
    script.write_text("2")
    second = configured(command_of(script))
    assert first.to_json() != second.to_json()
    with pytest.raises(InputError, match="that its command names have changed since"):
        METHOD.configure(first.to_json())


def test_a_listing_shows_what_it_needs():
    assert METHOD.options()["command"].endswith("{model} {calibration} {output}")


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("", {}, "command has no place '{calibration}'"),
        ("q {calibration}", {}, "command has no place '{output}'"),
        ("q {calibration} {output} {bits}", {}, "has the place '{bits}'; the places are {model}"),
        ("q {calibration} {output} {}", {}, "has the place '{}'; the places are {model}"),
        ("q {calibration} {output:>9}", {}, "has the place '{output:>9}'; the places are {model}"),
        ("q {calibration} {output", {}, "command cannot be read"),
        ("q '{calibration} {output}", {}, "command cannot be read"),
        ("q {calibration} {output}", {"tool": ""}, "name what its command runs, with the version"),
    ],
)
def test_a_command_that_cannot_run_is_refused_before_anything_runs(command, options, message):
    with pytest.raises(InputError, match=message):
        configured(command, **options)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('no licence')", "ended with 1: no licence"),
        ("pass", "wrote nothing to"),
        ("import sys; open(sys.argv[3], 'w').write('x')", "is no ONNX model"),
        ("import time; time.sleep(60)", "took more than 1 s"),
    ],
)
def test_a_command_that_fails_is_said_in_one_sentence(tmp_path, prepared, images, code, message):
    script = tmp_path / "s.py"
    script.write_text(code)
    method = configured(command_of(script), seconds=1 if "sleep" in code else 60)
    with pytest.raises(InputError, match=message):
        METHOD.run(prepared, as_tensor_batches(images[:4]), method, 0, None)
