"""docs/extend.md as a reader would follow it: a package is installed, its method and shift run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs/extend.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.S | re.M)
PROJECT = PAGE.parents[1]
USE = """
import numpy as np, torch
from ptq_pipeline.models import resnet20
from ptq_pipeline.ptq import method_from_json, prepare, quantize_model
from ptq_pipeline.stress import apply_shift, build_shift

images = np.random.default_rng(0).integers(0, 256, (16, 1, 28, 28)).astype(np.uint8)
torch.manual_seed(0)
prepared = prepare(resnet20().eval(), torch.zeros(2, 1, 28, 28))
method = method_from_json({"name": "best_range", "weight_bits": 4, "images": 8})
batches = [torch.from_numpy(images / np.float32(255))]
parameters = quantize_model(prepared, batches, method, seed=0)
print({layer.weight.scheme.bits for layer in parameters.layers.values()})
shift = build_shift("scan_lines", {"darker": 0.0})
shifted = apply_shift("scan_lines", shift, images, np.arange(16, dtype=np.uint64))
print((shifted == 0).all(axis=3).sum(axis=2).ravel().tolist())
"""


def test_a_method_and_a_shift_of_another_package_are_found_and_run(tmp_path):
    blocks = BLOCK.findall(PAGE.read_text())
    for _, title, text in blocks:
        if title:
            path = tmp_path / title
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    install, ask = (text.split() for kind, title, text in blocks if kind == "bash")
    target = tmp_path / "installed"
    path = os.pathsep.join([str(target), str(PROJECT / "src")])

    def run(*command, cwd=PROJECT):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=cwd, env=os.environ | {"PYTHONPATH": path},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(*install, "--target", str(target), cwd=tmp_path)
    (mine,) = [each for each in json.loads(run(*ask)) if each["name"] == "best_range"]
    assert mine["options"]["images"] == 64
    (tmp_path / "use.py").write_text(USE)
    bits, rows = run("use", cwd=tmp_path).splitlines()
    assert bits == "{4}"
    assert rows == str([7] * 16), "every fourth of 28 rows"
