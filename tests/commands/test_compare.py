import json
import resource
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from tests.runtimes.files import SIDE, write_onnx, write_tflite, write_tflite_network
from torch import nn

from ptq_pipeline.commands import ptq

LIMIT = ("--limit", "class=20", "--limit", "average=15", "--no-report")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, low, high in (("bright", 0.52, 1.0), ("dark", 0.0, 0.48)):
        (tmp_path / "test" / name).mkdir(parents=True)
        for number, level in enumerate(np.linspace(low, high, 120)):
            pixels = np.full((SIDE, SIDE), round(255 * level), dtype=np.uint8)
            pixels[0, 0] = rng.integers(0, 255)
            Image.fromarray(pixels).save(tmp_path / f"test/{name}/{number:03d}.png")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(ptq, [*map(str, arguments)])


def verdict(folder):
    return json.loads((folder / "judged/verdict.json").read_text())


def test_an_onnx_and_a_tflite_file_are_compared(here):
    write_onnx(here / "float.onnx")
    write_tflite(here / "int8.tflite", integer=True)
    ended = run("compare", "float.onnx", "int8.tflite", "--images", "test", *LIMIT)
    assert ended.exit_code == 0, ended.output
    assert "float.onnx: right on" in ended.stdout and "int8.tflite: right on" in ended.stdout
    files = verdict(here)["source"]["files"]
    assert [each["name"] for each in files] == ["float.onnx", "int8.tflite"]


def test_a_model_that_loses_a_class_fails_as_an_independent_count_says(here):
    write_onnx(here / "float.onnx")
    write_tflite(here / "bad.tflite", 0.8)
    ended = run("compare", "float.onnx", "bad.tflite", "--images", "test", *LIMIT)
    assert ended.exit_code == 3, ended.output
    stored = pd.read_parquet(here / "judged/answers.parquet")
    bright = stored[stored["label"] == "bright"]
    lost = (bright["float_answer"] == "bright") & (bright["quantized_answer"] == "dark")
    cell = next(c for c in verdict(here)["candidate"]["cells"] if c["group"] == "bright")
    assert cell["lost"] == lost.sum() > 60
    assert stored["unit_id"].tolist()[0] == "bright/000.png"


def test_answers_of_two_hosts_are_judged_by_id(here):
    write_onnx(here / "m.onnx")
    write_onnx(here / "n.onnx", 0.499)
    assert run("answers", "m.onnx", "--images", "test", "--out", "here.parquet").exit_code == 0
    assert run("answers", "n.onnx", "--images", "test", "--out", "there.parquet").exit_code == 0
    ended = run("judge", "--float", "here.parquet", "--quantized", "there.parquet", *LIMIT)
    assert ended.exit_code == 0, ended.output


def test_a_wrong_guess_of_the_preprocessing_is_said(here):
    write_onnx(here / "m.onnx")
    ended = run("compare", "m.onnx", "m.onnx", "--images", "test", "--mean", "5", *LIMIT)
    assert ended.exit_code == 1
    assert "right on 50.0 % of the 240 units" in ended.stderr
    assert "Check the preprocessing" in ended.stderr
    assert not (here / "judged").exists()


def test_a_manifest_brings_groups(here):
    write_onnx(here / "m.onnx")
    paths = sorted((here / "test").rglob("*.png"))
    table = pd.DataFrame({"path": [p.relative_to(here) for p in paths]})
    table["label"] = [p.parent.name for p in paths]
    table["camera"] = np.arange(len(paths)) % 2
    table.to_csv("list.csv", index=False)
    ended = run("compare", "m.onnx", "m.onnx", "--images", "list.csv", *LIMIT)
    assert ended.exit_code == 0, ended.output
    groups = {c["group"] for c in verdict(here)["candidate"]["cells"]}
    assert {"camera=0", "camera=1", "bright", "dark"} <= groups


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--images", "nowhere"), "manifest 'nowhere' does not exist"),
        (("--images", "test", "--classes", "bright,dim"), "no output is called 'dark'"),
        (("--images", "test", "--std", "0"), "--std '0': give one number, or three"),
        (("--images", "test", "--mean", "1,2"), "--mean '1,2': give one number, or three"),
    ],
)
def test_wrong_options_are_one_sentence(here, arguments, message):
    write_onnx(here / "m.onnx")
    ended = run("compare", "m.onnx", "m.onnx", *arguments)
    assert ended.exit_code == 1
    assert message in ended.stderr and ended.stderr.count("\n") == 1


def test_what_is_no_number_is_named():
    ended = run("compare", "m.onnx", "m.onnx", "--images", "test", "--mean", "a")
    assert ended.exit_code == 2
    assert "Invalid value for '--mean': 'a' is not like 0.485,0.456,0.406" in ended.stderr


def trained(images, labels):
    """Two convolutions with random weights, and a readout fitted to what they see."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU())
    with torch.no_grad():
        seen = body(images).permute(0, 2, 3, 1).flatten(1).numpy()
    given = np.concatenate([seen, np.ones((len(seen), 1), np.float32)], axis=1)
    wanted = np.eye(10, dtype=np.float32)[labels] - 0.1
    # A ridge, so that no weight is so large that 8 bits leave nothing of the others.
    fitted = np.linalg.solve(given.T @ given + 20 * np.eye(785), given.T @ wanted)
    return body, fitted[:-1].T, fitted[-1], seen


def write_tflite_pair(folder, images, body, weights, bias):
    """The network as a float file and an int8 one, ranges taken from the images."""
    convolutions = [
        (each.weight.detach().permute(0, 2, 3, 1).numpy(), each.bias.detach().numpy())
        for each in (body[0], body[2])
    ]
    layers = [*convolutions, (weights, bias)]
    with torch.no_grad():
        first = body[:2](images)
        second = body[2:](first)
    scores = second.permute(0, 2, 3, 1).flatten(1).numpy() @ weights.T + bias
    scales = [(1 / 255, -128)]
    scales += [(float(each.max()) / 255, -128) for each in (first, second)]
    step = float(scores.max() - scores.min()) / 255
    scales += [(step, round(-128 - float(scores.min()) / step))]
    shape = (32, 32, 3)
    write_tflite_network(folder / "float.tflite", layers, shape)
    write_tflite_network(folder / "int8.tflite", layers, shape, scales)


def write_onnx_pair(folder, images, body, weights, bias):
    """The same as ONNX files, the int8 one by ONNX Runtime's static quantization."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        left = iter([images.numpy()])

        def get_next(self):
            batch = next(self.left, None)
            return None if batch is None else {"x": batch}

    last = nn.Linear(784, 10)
    with torch.no_grad():
        # Channels are first here.
        sides = torch.from_numpy(weights).reshape(10, 7, 7, 16)
        last.weight.copy_(sides.permute(0, 3, 1, 2).flatten(1))
        last.bias.copy_(torch.from_numpy(bias))
    network = nn.Sequential(body, nn.Flatten(), last).eval()
    torch.onnx.export(
        network, images[:1], folder / "float.onnx", dynamo=False, input_names=["x"],
        dynamic_axes={"x": {0: "n"}},
    )  # fmt: skip
    quantization.quantize_static(folder / "float.onnx", folder / "int8.onnx", Reader())


def run_alone(path, images):
    """Answers of a model file by its own runtime, without this package; images (n, 3, 32, 32)."""
    if path.suffix == ".onnx":
        import onnxruntime

        return onnxruntime.InferenceSession(path).run(None, {"x": images})[0].argmax(1)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    images = images.transpose(0, 2, 3, 1)
    if path.stem == "int8":
        scale, zero = taken["quantization"]
        images = (np.rint(images / scale) + zero).astype(np.int8)
    answers = []
    for image in images:
        interpreter.set_tensor(taken["index"], image[None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(given["index"]).argmax())
    return np.array(answers)


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_tflite_pair, write_onnx_pair])
def test_ten_thousand_images_of_cifar_size_take_less_than_a_minute(tmp_path, write):
    kind = "tflite" if write is write_tflite_pair else "onnx"
    rng = np.random.default_rng(0)
    labels = np.arange(10_000) % 10
    patterns = np.kron(rng.normal(0, 12, (10, 3, 4, 4)), np.ones((8, 8)))
    noise = rng.normal(128, 60, (10_000, 3, 32, 32))
    pixels = np.clip(patterns[labels] + noise, 0, 255).astype(np.uint8)
    for label in range(10):
        (tmp_path / f"test/{label}").mkdir(parents=True)
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / f"test/{label}/{number:05d}.png")
    images = torch.from_numpy(pixels.astype(np.float32) / 255)
    write(tmp_path, images[:2000], *trained(images[:2000], labels[:2000])[:3])
    command = [sys.executable, "-m", "kedro", "ptq", "compare", f"float.{kind}", f"int8.{kind}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        [*command, "--images", "test"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    first, second = (
        run_alone(tmp_path / f"{name}.{kind}", images.numpy()) for name in ("float", "int8")
    )
    right, kept = first == labels, second == labels
    assert 0.5 < right.mean() < 1 and 0 < (first != second).mean() < 0.2
    said = verdict(tmp_path)
    cells = {each["group"]: each for each in said["candidate"]["cells"]}
    for label in range(10):
        own = labels == label
        cell = cells[str(label)]
        assert cell["n"] == 1000
        assert cell["lost"] == (right & ~kept)[own].sum()
        assert cell["gained"] == (kept & ~right)[own].sum()
    assert ended.returncode == {"PASS": 0, "FAIL": 3, "INCONCLUSIVE": 4}[said["result"]]
    assert seconds < 60, seconds
    print(f"{kind}: {seconds:.1f} processor seconds, {said['headline']}")  # noqa: T201
