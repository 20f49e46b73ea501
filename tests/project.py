"""A small Kedro project around the installed package, for end-to-end tests."""

import gzip
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml

from ptq_pipeline.mounting import DEFAULT
from ptq_pipeline.unchanged import SUFFIX

# Replaces what opens connections and resolves names; every attempt to reach another machine is
# written down and refused. Worker processes talk over the loopback.
NETWORK_BLOCK = """
import os, socket

LOOPBACK = {None, "127.0.0.1", "::1", "localhost"}

def refuse(what):
    def attempt(*arguments, **options):
        with open(os.environ["NETWORK_LOG"], "a") as log:
            log.write(f"{what} {arguments[1:] or arguments}\\n")
        raise OSError("the network is blocked")
    return attempt

resolve, refuse_name = socket.getaddrinfo, refuse("getaddrinfo")

def guarded_name(host, *arguments, **options):
    return (resolve if host in LOOPBACK else refuse_name)(host, *arguments, **options)

socket.getaddrinfo = guarded_name
for name in ("connect", "connect_ex", "sendto"):
    original = getattr(socket.socket, name)
    def guarded(self, *arguments, _original=original, _name=name):
        if self.family == socket.AF_UNIX or arguments[-1][0] in LOOPBACK:
            return _original(self, *arguments)
        return refuse(_name)(self, *arguments)
    setattr(socket.socket, name, guarded)
"""


def read_idx(path):
    content = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(content[4 : 4 + 4 * content[3]], ">u4")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + np.ascontiguousarray(array).tobytes(), mtime=0))


def cut(source, target, rows, exposure=1.0):
    """Copy a slice of a pair of idx files; ``exposure`` makes its images darker or brighter."""
    images, labels = (
        read_idx(source / name)[rows] for name in ("images-idx3-ubyte.gz", "labels-idx1-ubyte.gz")
    )
    if exposure != 1.0:
        images = np.rint(np.clip(images * exposure, 0, 255)).astype(np.uint8)
    write_idx(target / "images-idx3-ubyte.gz", images)
    write_idx(target / "labels-idx1-ubyte.gz", labels)


def without_network(root, python_path=None):
    """Return an environment whose Python reaches no other machine.

    What was tried is in ``root/network.log``. Nothing in it opts out of telemetry.
    """
    blocker = root / "blocker"
    blocker.mkdir(exist_ok=True)
    (blocker / "sitecustomize.py").write_text(NETWORK_BLOCK)
    kept = {k: v for k, v in os.environ.items() if k not in {"DO_NOT_TRACK", "CI"}}
    python_path = python_path or os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(blocker), *filter(None, [python_path])])
    return kept | {"PYTHONPATH": path, "NETWORK_LOG": str(root / "network.log")}


def built_viz(root, python_path=None):
    """Build Kedro-Viz there with previews and without a network.

    Returns:
        The names of the pipelines, and by name of dataset what the built page shows of it.
    """
    result = subprocess.run(
        [sys.executable, "-m", "kedro", "viz", "build", "--include-previews"],
        cwd=root, env=without_network(root, python_path) | {"DO_NOT_TRACK": "1"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    said = " ".join((result.stdout + result.stderr).split())
    assert "Success" in said, said
    # Neither figures that no run has made yet, nor layers that go round in a circle.
    assert "could not be previewed" not in said and "Layers visualisation is disabled" not in said
    assert not (root / "network.log").exists(), (root / "network.log").read_text()
    api = root / "build/api"
    main = json.loads((api / "main").read_text())
    order = [layer for layer in main["layers"] if layer in DEFAULT]
    assert order == list(DEFAULT)
    previews = {}
    for node in main["nodes"]:
        path = api / "nodes" / node["id"]
        if node["type"] == "data" and path.is_file():
            previews[node["name"]] = json.loads(path.read_text()).get("preview")
    return {pipeline["id"] for pipeline in main["pipelines"]}, previews


LENIENT = {
    "average": {"points": 6.0},
    "class": {"points": 25.0},
    "segment": {"points": 12.0},
    "intersection": {"points": 50.0, "min_size": 100_000},
}


def lenient(story):
    """Give a project of the drift story a policy that few draws can pass, and a quick trigger."""
    story.change("parameters_calibration", calibration={"draws": 5})
    story.change("parameters_worst_case_check", worst_case_check={"p0": 0.5, "draws": 5})
    check = story._read("parameters_worst_case_check")
    check["worst_case_check"]["limits"] = LENIENT
    story._write("parameters_worst_case_check", check)
    trigger = {"windows": 1, "minimum_samples": 200, "rearm_after": 1}
    story.change("parameters_monitoring", monitoring={"trigger": trigger})


def drift_story(checkout):
    """Import the script that plays the story of docs/watch.md."""
    path = checkout / "scripts/drift_story.py"
    spec = importlib.util.spec_from_file_location("drift_story", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["drift_story"] = module
    spec.loader.exec_module(module)
    return module


def configured(checkout: Path, root: Path) -> Path:
    """Make a Kedro project with the shipped configuration and nothing else."""
    (root / "src").mkdir(parents=True)
    shutil.copytree(checkout / "conf", root / "conf")
    (root / "conf/local").mkdir(exist_ok=True)
    (root / "pyproject.toml").write_text(
        '[tool.kedro]\npackage_name = "ptq_pipeline"\nproject_name = "small"\n'
        'kedro_init_version = "1.7.0"\nsource_dir = "src"\n'
    )
    return root


class SmallProject:
    """A copy of the default configuration with little data and few draws."""

    def __init__(self, checkout: Path, root: Path) -> None:
        self.root = configured(checkout, root)
        raw = checkout / "data/01_raw"
        (root / ".telemetry").write_text("consent: false\n")
        cut(raw / "fashion_mnist/test", root / "data/01_raw/fashion_mnist/test", slice(1500))
        cut(raw / "fashion_mnist/heldout", root / "data/01_raw/fashion_mnist/heldout", slice(2200))
        for part in ("test", "heldout"):
            self._declare_again(raw / "fashion_mnist", root / "data/01_raw/fashion_mnist", part)
        for window in ("calm", "drifted"):
            cut(raw / "production" / window, root / f"data/01_raw/production/{window}", slice(300))
        shutil.copy(raw / "fashion_mnist/training_hashes.npy", root / "data/01_raw/fashion_mnist")
        shutil.copytree(checkout / "data/06_models/reference", root / "data/06_models/reference")
        self.change("calibration", set_size=64, draws=4, comparison_draws=1)
        self.change("calibration", validation={"simulated_draws": 1500}, data_docs=False)
        self.change("drift", resamples=200)
        # Two threads spin while they wait, which beside other tests takes many times as long.
        self.change("quantization", runtime={"threads": 1})

    def _declare_again(self, before, after, part):
        """Let the catalog declare the hashes of the images that were cut."""
        catalog = self.root / "conf/base/catalog.yml"
        text = catalog.read_text()
        for name in ("images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"):
            old, new = (
                hashlib.sha256((folder / part / name).read_bytes()).hexdigest()
                for folder in (before, after)
            )
            assert old in text
            text = text.replace(old, new)
        catalog.write_text(text)

    def change(self, group, **values):
        """Change parameters of one group."""
        path = self.root / f"conf/base/parameters_{group}.yml"
        content = yaml.safe_load(path.read_text())
        for key, value in values.items():
            if isinstance(value, dict) and isinstance(content[group].get(key), dict):
                content[group][key].update(value)
            else:
                content[group][key] = value
        path.write_text(yaml.safe_dump(content))

    @property
    def network_log(self) -> Path:
        return self.root / "network.log"

    def environment(self):
        return without_network(self.root)

    def start(self, *arguments, **options):
        """Start ``kedro run`` with these arguments."""
        return subprocess.Popen(
            [sys.executable, "-m", "kedro", "run", *arguments],
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    def run(self, *arguments):
        """Run ``kedro run`` and return its exit code and output."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=600)
        return process.returncode, output

    def command(self, *arguments):
        """Run ``kedro ptq`` with these arguments."""
        return subprocess.run(
            [sys.executable, "-m", "kedro", "ptq", *arguments],
            cwd=self.root,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=1800,
        )

    def reproducible_files(self):
        """Return the content of everything that must be the same for the same input."""
        apart = {"data/07_model_output/trials", "data/08_reporting/drift", "data/01_raw"}
        single = {
            *("provenance.json", "candidate_speed.json", "report.html"),
            "calibration_validation_cache.json",
        }
        files = {}
        for path in sorted((self.root / "data").rglob("*")):
            name = path.relative_to(self.root).as_posix()
            # What decided a stored result names this machine.
            if path.is_file() and path.name not in single and path.suffix != SUFFIX:
                if not any(name.startswith(folder) for folder in apart):
                    files[name] = path.read_bytes()
        return files
