"""The tutorials as a reader would follow them: files from their blocks, commands in their order."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.tutorials import fruit

TUTORIALS = Path(__file__).resolve().parents[2] / "docs/tutorials"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.S | re.M)
INSTALLATION = "installation"


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its title and its text."""

    language: str
    title: str
    text: str


def blocks_of(name):
    return [Block(*found) for found in BLOCK.findall((TUTORIALS / name).read_text())]


class Reader:
    """Follows a tutorial in a folder of its own; a shell's directory lasts from block to block."""

    def __init__(self, folder, wheel):
        self.folder = folder
        self.wheel = wheel
        self.place = folder
        self.said = []

    def follow(self, blocks):
        for block in blocks:
            if block.language == "bash" and block.title != INSTALLATION:
                self._run(block.text)
            elif block.title and block.title != INSTALLATION:
                path = self.place / block.title
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)

    def _run(self, commands):
        where = self.folder / "where"
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        installed = {"PATH": path, "PYTHONPATH": str(self.wheel)}
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{commands}\npwd > {where}"],
            cwd=self.place, env=os.environ | installed, capture_output=True, text=True,
            check=False, timeout=1500,
        )  # fmt: skip
        assert result.returncode == 0, f"{commands}\n{result.stdout}\n{result.stderr}"
        self.place = Path(where.read_text().strip())
        self.said.append(result.stdout)

    def after(self, word):
        """What was said by the first block whose output holds a word."""
        return next(said for said in self.said if word in said)


@pytest.mark.parametrize("name", sorted(path.name for path in TUTORIALS.glob("*.md")))
def test_a_tutorial_needs_little_configuration(name):
    configuration = [b.text for b in blocks_of(name) if b.title.endswith((".yml", ".yaml"))]
    lines = [line for text in configuration for line in text.splitlines() if line.strip()]
    assert 0 < len(lines) < 30
    assert all(isinstance(yaml.safe_load(text), dict) for text in configuration)


def test_the_first_tutorial_writes_no_python():
    assert {b.language for b in blocks_of("torchvision_model.md")} == {"bash", "yaml", "text"}


def test_what_the_tutorials_install_is_this_package(project):
    for name in ("torchvision_model.md",):
        (block,) = [b for b in blocks_of(name) if b.title == INSTALLATION]
        assert "ptq_pipeline/constraints.txt ./ptq_pipeline" in block.text
    assert (project / "constraints.txt").is_file()


@pytest.mark.slow
def test_a_torchvision_network_from_an_empty_folder_to_its_verdict(tmp_path, wheel):
    brought = tmp_path / "brought"
    fruit.bring_images(brought, 2000)
    fruit.bring_resnet18(brought / "resnet18.pt")
    reader = Reader(tmp_path, wheel)
    reader.follow(blocks_of("torchvision_model.md"))
    assert "ok    float_model   5 classes" in reader.after("float_model")
    assert "Decision: do not ship (FAIL)." in reader.after("Decision")
    assert "exit code 3" in reader.after("calibration images belong")
    assert "exit code 4" in reader.after("decision_hash")
    page = (reader.place / "data/fruit/08_reporting/report.html").read_text()
    assert "customer=Bakery" in page and "days_on_the_road=missing" in page
    shutil.rmtree(reader.place)


@pytest.mark.slow
def test_a_factory_and_a_dataset_class_of_ones_own(tmp_path, wheel):
    blocks = blocks_of("own_model_and_data.md")
    names = {}
    exec(next(block.text for block in blocks if block.title.endswith("networks.py")), names)  # noqa: S102
    fruit.bring_packed(tmp_path / "brought", 1000, names["sorting_network"])
    reader = Reader(tmp_path, wheel)
    reader.follow(blocks)
    assert "ok    float_model   5 classes" in reader.after("float_model")
    verdict = json.loads((reader.place / "data/harvest/08_reporting/verdict.json").read_text())
    cells = verdict["candidate"]["cells"]
    assert {"site=hill", "site=valley"} <= {cell["shift"] for cell in cells}
    assert not any("site=" in cell["group"] for cell in cells)
