import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from tests.runtimes.files import SIDE, write_onnx, write_tflite

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
