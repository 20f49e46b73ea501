import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image
from tests.runtimes.files import SIDE, write_onnx
from tests.tutorials import fruit

from ptq_pipeline.commands import ptq
from ptq_pipeline.commands.init import mount_files
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.project_template.standalone import MOUNT, PACKAGE, with_values
from ptq_pipeline.routines import own_audit

FRUIT = ("--images", "brought/images", "--size", "32", "--mean", "0.5", "--std", "0.25")
TORCH = ("--weights", "brought/resnet18.pt", "--factory", "torchvision.models.resnet18")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, level in (("bright", 200), ("dark", 50)):
        (tmp_path / "test" / name).mkdir(parents=True)
        for number in range(20):
            pixels = np.full((SIDE, SIDE), level + number, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"test/{name}/{number:03d}.png")
    write_onnx(tmp_path / "m.onnx")
    torch.save({"weight": torch.zeros(2, 192)}, tmp_path / "m.pt")
    (tmp_path / "no.onnx").write_text("no")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(ptq, [*map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give --weights and --factory, or --onnx"),
        (("--weights", "m.pt", "--onnx", "m.onnx"), "give --weights and --factory, or --onnx"),
        (("--weights", "m.pt"), "name what builds the network"),
        (("--onnx", "m.onnx", "--factory", "torch.nn.Linear"), "leave --factory"),
        (("--onnx", "gone.onnx"), "'gone.onnx' does not exist"),
        (("--onnx", "no.onnx"), "'no.onnx' is no ONNX file"),
        (("--onnx", "m.onnx", "--mean", "1,2"), "--mean: 2 values for 1 channel(s)"),
        (("--onnx", "m.onnx", "--limit", "klass=3"), "'klass' is no level"),
        (("--onnx", "m.onnx", "--classes", "bright"), "but 1 classes are declared"),
        (("--weights", "m.pt", "--factory", "torch.nn.Linear"), "give --size"),
        (("--weights", "m.pt", "--factory", "no.such", "--size", "8"), "cannot be imported"),
        (
            ("--weights", "m.pt", "--factory", "torchvision.models.squeezenet1_1", "--size", "64"),
            "does not fit factory",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(here, arguments, said):
    before = sorted(here.rglob("*"))
    ended = run("audit", "--images", "test", *arguments)
    assert ended.exit_code == 1
    assert said in ended.stderr and ended.stderr.count("error:") == 1
    assert sorted(here.rglob("*")) == before


def test_images_that_do_not_exist_are_named(here):
    ended = run("audit", "--images", "gone", "--onnx", "m.onnx")
    assert ended.exit_code == 1 and "'gone' does not exist" in ended.stderr


@pytest.fixture
def wanted(here):
    return own_audit.wanted_audit(
        own_audit.Brought(
            images=here / "test", weights=here / "m.onnx", factory=None, arguments={},
            classes=None, size=None, resize=None, mean=(0.5,), std=None, grey=False,
        )
    )  # fmt: skip


def test_a_model_file_says_what_its_images_are(wanted):
    assert wanted.entries["image_source"]["shape"] == [1, SIDE, SIDE]
    assert wanted.entries["float_model"]["preprocessing"] == {"mean": [0.5], "std": [1.0]}
    assert wanted.entries["float_model"]["classes"] == ["bright", "dark"]
    assert wanted.calibration_images == own_audit.FEWEST_IMAGES


@pytest.fixture(scope="module")
def mounted():
    return mount_files(own_audit.Path("src") / PACKAGE, MOUNT)


def test_settings_are_written_between_the_comments_of_the_template(wanted, mounted, tmp_path):
    settings = own_audit.settings_of(4, 8, 30, {"class": 3.0})
    files = own_audit.project_files(wanted, mounted, settings)
    assert own_audit.write_project(tmp_path / "new", files)
    name = f"conf/base/parameters_{MOUNT}.yml"
    text = (tmp_path / "new" / name).read_text()
    written = yaml.safe_load(text)[MOUNT]
    assert written["quantization"]["method"]["weight_bits"] == 4
    assert written["calibration"]["draws"] == written["worst_case_check"]["draws"] == 30
    assert written["worst_case_check"]["limits"]["class"] == {
        "points": 3.0, "shifts": {"gaussian_noise": 4.5, "image_size": 4.5},
    }  # fmt: skip
    comments, template = (
        [line for line in each.splitlines() if line.lstrip().startswith("#")]
        for each in (text, mounted[own_audit.Path(name)].decode())
    )
    assert comments == template


def test_a_finished_audit_of_other_settings_is_not_replaced(wanted, mounted, tmp_path):
    root = tmp_path / "new"
    with_draws = [
        own_audit.project_files(wanted, mounted, {"calibration.draws": n}) for n in range(4, 7)
    ]
    own_audit.write_project(root, with_draws[0])
    # Not audited yet: what was begun with other settings may be.
    assert not own_audit.write_project(root, with_draws[1])
    verdict = root / f"data/{MOUNT}/08_reporting/verdict.json"
    verdict.parent.mkdir(parents=True)
    verdict.write_text("{}")
    assert not own_audit.write_project(root, with_draws[1])
    with pytest.raises(InputError, match=f"other settings .*parameters_{MOUNT}.yml"):
        own_audit.write_project(root, with_draws[2])


def test_a_folder_of_other_things_is_left_alone(here):
    with pytest.raises(InputError, match="holds other things"):
        own_audit.write_project(here / "test", {})


def test_an_unknown_setting_is_an_error_of_the_program():
    with pytest.raises(KeyError):
        with_values("a: {b: 1}", {"a.c": 2})


def test_the_last_report_is_opened(here, monkeypatch):
    assert "holds no report" in run("open").stderr
    for number, name in enumerate(("judged", "audited/data/audit/08_reporting", "old")):
        (here / name).mkdir(parents=True)
        (here / name / "report.html").write_text("page")
        os.utime(here / name / "report.html", (0, 1000 if name == "old" else 2000 + number))
    found = run("open", "--print")
    assert found.stdout.strip() == "audited/data/audit/08_reporting/report.html"
    assert run("open", "judged", "--print").stdout.strip() == "judged/report.html"
    monkeypatch.setenv("BROWSER", f"{sys.executable} -c pass %s &")
    assert json.loads(run("open", "--json").stdout)["report"] == found.stdout.strip()


def kedro(folder, *arguments):
    command = [sys.executable, "-m", "kedro", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def interrupted(folder, *arguments, once):
    """Start a command, send Ctrl-C once it has stored a trial; return when each was written."""
    command = [sys.executable, "-m", "kedro", *arguments]
    log = folder / "log"
    with log.open("w") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)
    while not (stored := list(once.glob("*/*.safetensors"))):
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130, log.read_text()
    assert "the same command goes on from there" in log.read_text()
    return {path: path.stat().st_mtime_ns for path in stored}


@pytest.mark.slow
def test_weights_and_images_become_a_verdict_and_what_stays_is_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fruit.bring_images(tmp_path / "brought", 1000)
    fruit.bring_resnet18(tmp_path / "brought/resnet18.pt")
    ended = kedro(tmp_path, "ptq", "audit", *TORCH, *FRUIT, "--bits", "4", "--draws", "4")
    assert ended.returncode == 3, ended.stderr
    lines = ended.stdout.splitlines()
    report = f"audited/data/{MOUNT}/08_reporting/report.html"
    assert "Decision: do not ship (FAIL)." in lines and f"Report: {report}" in lines
    assert "trials " in ended.stderr and "Decision:" not in ended.stderr
    assert kedro(tmp_path, "ptq", "open", "--print").stdout.splitlines()[-1] == report
    data = tmp_path / f"audited/data/{MOUNT}"
    assert {path.name for path in data.iterdir()} == {*own_audit.KEPT}
    assert "__default__" in kedro(tmp_path / "audited", "registry", "list").stdout
    assert (tmp_path / "audited/src" / PACKAGE).is_dir()


@pytest.mark.slow
def test_an_onnx_file_is_audited_and_kept_and_goes_on_as_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fruit.bring_images(tmp_path / "brought", 1000)
    fruit.bring_resnet18(tmp_path / "brought/resnet18.pt")
    network = own_audit.import_factory("torchvision.models.resnet18")(num_classes=5)
    network.load_state_dict(torch.load("brought/resnet18.pt", weights_only=True))
    torch.onnx.export(network.eval(), torch.zeros(1, 3, 32, 32), "m.onnx", dynamo=False)
    command = (
        *("ptq", "audit", "--onnx", "m.onnx", "--images", "brought/images", "--mean", "0.5"),
        *("--std", "0.25", "--bits", "8", "--draws", "3", "--keep", "--language", "ja"),
    )
    data = tmp_path / f"audited/data/{MOUNT}"
    trials = interrupted(tmp_path, *command, once=data / "07_model_output/trials")
    ended = kedro(tmp_path, *command)
    assert ended.returncode in (3, 4), ended.stderr
    assert all(path.stat().st_mtime_ns == written for path, written in trials.items())
    project = tmp_path / "audited"
    gate = kedro(project, "ptq", "gate", "--mount", MOUNT)
    assert gate.returncode == ended.returncode, gate.stderr
    verdict = (data / "08_reporting/verdict.json").read_bytes()
    # A proper Kedro project, and the same audit.
    run = kedro(project, "run")
    assert run.returncode == 0, run.stderr
    assert (data / "08_reporting/verdict.json").read_bytes() == verdict
    opened = kedro(project, "ptq", "open", "--print")
    assert opened.stdout.splitlines()[-1] == f"data/{MOUNT}/08_reporting/report.html"
    again = kedro(tmp_path, *command)
    assert again.stdout == ended.stdout
    assert (data / "03_primary/samples.parquet").is_file()
