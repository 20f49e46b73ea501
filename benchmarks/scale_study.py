"""The audit on one machine, and on workers that share nothing with it but a scheduler and a bucket.

    python benchmarks/scale_study.py --workers 4 --env base

Two copies of this project run the same pipelines up to the verdict. The second one has its trial
store in a bucket (an S3 server of `moto` on this machine) and its trials on a Dask scheduler whose
workers were started in empty folders, each with a cache of its own as if it were a host of its own.
Its temporary folder is its own too, so no worker finds a file where the driver has it. Verdicts and
predictions are compared byte by byte.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from ptq_pipeline.core.objects import ObjectFolder
from ptq_pipeline.trials.trial import trial_of

PROJECT = Path(__file__).resolve().parents[1]
BEFORE = ("data_loading", "calibration")
AFTER = ("subgroup_scoring", "worst_case_check")
COMPARED = ("08_reporting/verdict.json", "07_model_output/predictions.parquet")
STORE = "s3://audit/trials"
CREDENTIALS = {
    **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "testing"),
    "AWS_DEFAULT_REGION": "us-east-1",
}


def main() -> None:
    """Run both and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--env", default="base")
    asked = parser.parse_args()
    with ExitStack() as kept:
        work = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="scale-study-")))
        alone = copied(work / "alone")
        one_thread = {"quantization.runtime.threads": "1"}
        prepare(alone, asked.env)
        before = audit(alone, asked.env, one_thread)
        print(f"one machine, one thread: trials and parity {before:.0f} s", flush=True)
        kept.enter_context(bucket(work))
        address = kept.enter_context(cluster(work, asked.workers))
        shared = copied(work / "shared")
        (shared / "conf/local/globals.yml").write_text(yaml.safe_dump({"trial_store": STORE}))
        prepare(shared, asked.env)
        executor = {
            "quantization.executor.kind": "dask",
            "quantization.executor.address": address,
        }
        after = audit(shared, asked.env, one_thread | executor)
        print(f"{asked.workers} workers in empty folders: {after:.0f} s")
        report(work, alone, shared, asked.env)


def report(work: Path, alone: Path, shared: Path, env: str) -> None:
    """Compare results; count what is in the bucket and what each host fetched."""
    data = "data" if env == "base" else f"data/{env}"
    for name in COMPARED:
        first, second = ((root / data / name).read_bytes() for root in (alone, shared))
        print(f"{name}: {'identical' if first == second else 'DIFFERENT'}")
    stored = list(ObjectFolder(STORE).names())
    trials = [each.size for each in stored if trial_of(each.name)]
    files = [each.size for each in stored if each.name.startswith("files/")]
    print(f"bucket: {len(trials)} trials {sum(trials) / 1e6:.2f} MB, ", end="")
    print(f"{len(files)} files {sum(files) / 1e6:.1f} MB")
    for cache in sorted(work.glob("host*/cache")):
        sizes = [path.stat().st_size for path in cache.glob("??/*")]
        print(f"{cache.parent.name}: fetched {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB")


def copied(root: Path) -> Path:
    """Copy what an audit needs of this project, and nothing that one has made."""
    for name in ("conf", "data/01_raw", "data/06_models/reference"):
        shutil.copytree(PROJECT / name, root / name, ignore=shutil.ignore_patterns("local"))
    (root / "conf/local").mkdir()
    (root / "src").mkdir()
    (root / "tmp").mkdir()
    shutil.copy(PROJECT / "pyproject.toml", root)
    shutil.copy(PROJECT / ".telemetry", root)
    return root


def prepare(root: Path, env: str) -> None:
    """Run what comes before the trials."""
    for name in BEFORE:
        run(root, "--env", env, "--pipelines", name)


def audit(root: Path, env: str, parameters: Mapping[str, str]) -> float:
    """Run trials and all that leads to the verdict; return the seconds of the trials."""
    given = ",".join(f"{name}={value}" for name, value in parameters.items())
    started = time.perf_counter()
    run(root, "--env", env, "--pipelines", "quantization", "--params", given)
    seconds = time.perf_counter() - started
    for name in AFTER:
        run(root, "--env", env, "--pipelines", name, "--params", given)
    return seconds


def run(root: Path, *words: str) -> None:
    """Run `kedro run` in a project."""
    command = [sys.executable, "-m", "kedro", "run", *words]
    environment = os.environ | {
        "TMPDIR": str(root / "tmp"),
        "PTQ_PIPELINE_CACHE": str(root / "cache"),
    }
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr).decode()[-4000:]}")


@contextmanager
def bucket(work: Path) -> Iterator[None]:
    """Start an S3 server, with credentials in this environment as a cloud's tools would find."""
    import fsspec

    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    with process(command, work / "bucket"):
        os.environ.update(CREDENTIALS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"})
        wait_for(port)
        fsspec.filesystem("s3").mkdir(STORE.split("/")[2])
        yield


@contextmanager
def cluster(work: Path, workers: int) -> Iterator[str]:
    """Start a scheduler and workers of one thread, each in an empty folder with its own cache."""
    port, dask = free_port(), "distributed.cli.dask_"
    address = f"tcp://127.0.0.1:{port}"
    command = [sys.executable, "-m", f"{dask}scheduler", "--no-dashboard", "--host", "127.0.0.1"]
    with ExitStack() as kept:
        kept.enter_context(process([*command, "--port", str(port)], work / "scheduler"))
        wait_for(port)
        for number in range(workers):
            folder = work / f"host{number}"
            command = [sys.executable, "-m", f"{dask}worker", address, "--nthreads", "1"]
            kept.enter_context(process(command, folder))
        yield address


@contextmanager
def process(command: list[str], folder: Path) -> Iterator[None]:
    """Run a process in an empty folder of its own, and end it at the end."""
    for name in ("here", "tmp", "cache"):
        (folder / name).mkdir(parents=True)
    environment = os.environ | {
        **{"TMPDIR": str(folder / "tmp"), "PTQ_PIPELINE_CACHE": str(folder / "cache")},
        **{"OMP_NUM_THREADS": "1"},
    }
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen(
            command, cwd=folder / "here", env=environment, stdout=log, stderr=log
        )
        try:
            yield
        finally:
            started.terminate()
            started.wait()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Wait until somebody listens on a port."""
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"nobody answers on port {port}")


if __name__ == "__main__":
    main()
