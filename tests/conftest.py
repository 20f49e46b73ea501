import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import random
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import fsspec
import numpy
import pytest
from tests.project import configured

PROJECT = Path(__file__).resolve().parents[1]


SLOW_SECONDS = 1800


def pytest_collection_modifyitems(items):
    """Give a slow test more time than pyproject.toml gives the others; begin with the longest file.

    A file is one worker's (its tests share fixtures, and some follow each other): begun last, the
    longest would run on while the other workers have nothing left.
    """
    items.sort(key=lambda item: item.path.name != "test_end_to_end.py")
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


@pytest.fixture(scope="session", autouse=True)
def interrupts():
    """Ctrl-C works here and in what the tests start, also where whoever started them ignores it.

    A shell ignores it in background jobs, and cron and some CI runners do; children inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def seeded_generators():
    """The same random weights in every run of a test that draws them without a seed."""
    random.seed(0)
    numpy.random.seed(0)  # noqa: NPY002
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser that reports are looked at in, and printed by."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "tests of the report need a browser: apt-get install chromium"
    return found


@pytest.fixture(scope="session")
def raw_data() -> Path:
    """The embedded default data."""
    return PROJECT / "data/01_raw"


@pytest.fixture(scope="session")
def random_model(tmp_path_factory):
    """A ResNet-20 of three classes with seeded random weights, as a float model."""
    import torch
    from safetensors.torch import save_file

    from ptq_pipeline.models import Preprocessing, load_float_model, resnet20

    path = tmp_path_factory.mktemp("model") / "weights.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(resnet20(classes=3).state_dict(), path)
    factory = "ptq_pipeline.models.resnet20"
    return load_float_model(factory, path, Preprocessing((0.5,), (0.3,)), "abc", {"classes": 3})


@pytest.fixture
def small(tmp_path, project, monkeypatch):
    """A project with the shipped configuration; the current directory."""
    from ptq_pipeline.registry.store import baseline_bytes

    configured(project, tmp_path)
    (tmp_path / "data/06_models").mkdir(parents=True)
    (tmp_path / "data/06_models/champion_baseline.json").write_bytes(baseline_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def wheel(project, tmp_path_factory):
    """The unpacked wheel: exactly what an installation would put on the path."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "src", "conf", "pyproject.toml", "PACKAGE.md", "LICENSE"],
        cwd=project, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, tracked):
        if (project / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(project / name, source / name, follow_symlinks=False)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--wheel-dir", str(folder), str(source)),
        ],
        check=True,
    )
    (archive,) = folder.glob("*.whl")
    with zipfile.ZipFile(archive) as content:
        content.extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="session")
def bucket():
    """A bucket of an S3 server of its own, and credentials in this environment."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    given = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    fsspec.filesystem("s3").mkdir("bucket")
    yield "s3://bucket"
    server.stop()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
