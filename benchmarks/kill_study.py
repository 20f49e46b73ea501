"""What a command leaves when it is killed at any instant, and what the next one makes of it.

`kedro run`, `promote`, `rollback`, `waive` and `watch` are started on a small project and killed at
instants drawn evenly from the time that each takes. After every kill all files are opened, and
compared with their seals; then the same command runs to its end. A kill is

- *torn* when a file that is in its place cannot be read, or is not what its seal says;
- *different* when the end is not that of a command that nobody killed. Compared byte by byte is
  every file that two such commands write alike; those that hold times must be there;
- *littered* when a temporary file is left after the next command.

Usage: ``python benchmarks/kill_study.py [--kills N] [--workers N]`` (or ``make kill-study``).
It prints the table of docs/security.md and exits with 1 when anything was found.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import numpy as np
import pandas as pd
from safetensors import safe_open

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "scripts"), str(PROJECT / "tests")]

from drift_story import Sizes, Story  # noqa: E402

from project import lenient  # noqa: E402
from ptq_pipeline.core.seals import FOLDER, SealError, checked_seal, read_seal  # noqa: E402

SIZES = Sizes(pool=700, reference=500, selection=200, audit=800, calm=300, drifted=1_400)
FAULTS = ("torn", "different", "littered")


@dataclass(frozen=True)
class Scene:
    """One command, and the project as it is before it.

    Attributes:
        name: what the table calls it.
        command: arguments of ``kedro``.
        before: a copy of the project.
        share: how many of a hundred kills are its.
        again: exit codes of the command after it was killed: of a change that was already made,
            some say so.
    """

    name: str
    command: tuple[str, ...]
    before: Path
    share: int
    again: tuple[int, ...] = (0,)


class Stage:
    """The place where scenes are played: one path, so that no file differs by it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said = root.with_name(f"{root.name}.log")

    def set(self, before: Path) -> None:
        """Put the project there as it was."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(before, self.root)

    def start(self, command: tuple[str, ...]) -> int:
        """Start ``kedro`` in a process that has everything imported; return its number."""
        child = os.fork()
        if child:
            return child
        os.setsid()
        os.chdir(self.root)
        said = os.open(self.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(said, stream)
        sys.argv = ["kedro", *command]
        code = 1
        try:
            from kedro.framework.cli import main as kedro

            kedro()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            sys.stdout.flush()
            os._exit(code)

    def end(self, command: tuple[str, ...]) -> int:
        """Run ``kedro`` to its end; return its exit code."""
        return os.waitstatus_to_exitcode(os.waitpid(self.start(command), 0)[1])

    def kill(self, command: tuple[str, ...], after: float) -> bool:
        """Start ``kedro`` and kill it after so many seconds; return whether it still ran."""
        child = self.start(command)
        time.sleep(after)
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:
            # It has ended, or has not yet become the leader of its group.
            os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    def files(self) -> dict[str, Path]:
        """Return all files of the project's data by name, without what is in temporary folders."""
        return {
            path.relative_to(self.root).as_posix(): path
            for path in sorted((self.root / "data").rglob("*"))
            if path.is_file() and not any(part.endswith(".tmp") for part in path.parts)
        }

    def litter(self) -> list[str]:
        """Return names of what is temporary."""
        return [
            path.relative_to(self.root).as_posix()
            for path in (self.root / "data").rglob("*")
            if path.name.endswith(".tmp") or path.name == "pending.json"
        ]

    def torn(self) -> list[str]:
        """Return what cannot be read or is not what its seal says."""
        found = []
        for name, path in self.files().items():
            try:
                read(path)
            except Exception as error:  # whatever a reader says of half a file
                found.append(f"{name}: {error}")
        for seal in (self.root / "data").rglob(f"{FOLDER}/*.json"):
            path = seal.parents[1] / seal.stem
            whole = read_seal(path)
            if whole is not None and whole.content:
                try:
                    checked_seal(path, path.name)
                except SealError as error:
                    found.append(str(error))
        return found


def read(path: Path) -> None:
    """Read a file as a whole, if it is of a kind that can be broken off."""
    content = path.read_bytes()
    if path.suffix == ".json":
        json.loads(content)
    elif path.suffix == ".jsonl":
        assert content.endswith(b"\n") or not content, "the last line has no end"
        for line in content.splitlines():
            json.loads(line)
    elif path.suffix == ".parquet":
        pd.read_parquet(path)
    elif path.suffix == ".npy":
        np.load(path)
    elif path.suffix == ".safetensors":
        with safe_open(path, "numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it is no mapping
                tensors.get_tensor(name)
    elif path.suffix in (".html", ".png", ".xml", ".csv", ".md"):
        ends = {".html": b"</html>", ".png": b"IEND\xaeB`\x82", ".xml": b">"}
        assert content.rstrip().endswith(ends.get(path.suffix, b"")), "it breaks off"
        assert content, "it is empty"


def honest(stage: Stage, scene: Scene) -> tuple[dict[str, bytes | None], float]:
    """Run a command twice without a kill.

    Returns:
        The files that it leaves, by name, None for those that the two runs wrote otherwise, and
        the median of its seconds.
    """
    runs, seconds = [], []
    for _ in range(2):
        time.sleep(1)  # so that times differ, which are of whole seconds
        stage.set(scene.before)
        started = time.monotonic()
        code = stage.end(scene.command)
        seconds.append(time.monotonic() - started)
        if code:
            raise SystemExit(f"{scene.name}: exit code {code}\n{stage.said.read_text()}")
        runs.append({name: path.read_bytes() for name, path in stage.files().items()})
    if set(runs[0]) != set(runs[1]):
        raise SystemExit(f"{scene.name}: two runs leave other files")
    alike = {name: each if each == runs[1][name] else None for name, each in runs[0].items()}
    return alike, float(np.median(seconds))


def play(
    stage: Stage, scene: Scene, expected: Mapping[str, bytes | None], after: float
) -> tuple[dict[str, list[str]], bool]:
    """Kill a command, look, and let the next one end; return what was found."""
    stage.set(scene.before)
    died = stage.kill(scene.command, after)
    torn = stage.torn()
    code = stage.end(scene.command)
    different = []
    if code not in scene.again:
        different.append(f"exit code {code}: {' '.join(stage.said.read_text()[-400:].split())}")
    torn += stage.torn()
    now = {name: path.read_bytes() for name, path in stage.files().items()}
    if scene.name != "waive":  # a waiver that was recorded before the kill is recorded once more
        different += [f"{name} is missing" for name in sorted(set(expected) - set(now))]
        different += [f"{name} is new" for name in sorted(set(now) - set(expected))]
    different += [
        f"{name} differs"
        for name, content in expected.items()
        if content is not None and now.get(name, content) != content
    ]
    litter = stage.litter()
    if (stage.root / "data/06_models/registry").exists() and stage.end(("ptq", "verify")):
        different.append(f"verify: {' '.join(stage.said.read_text()[-400:].split())}")
    return {"torn": torn, "different": different, "littered": litter}, died


def prepare(root: Path) -> list[Scene]:
    """Play a model's life once, and keep the project as it is before each command."""
    story = Story(root / "stage", SIZES)
    story.build()
    lenient(story)
    stage = Stage(story.root)

    def keep(name: str) -> Path:
        return Path(shutil.copytree(story.root, root / name))

    def done(*command: str) -> None:
        if code := stage.end(command):
            raise SystemExit(f"{command}: exit code {code}\n{stage.said.read_text()}")

    promote = ("ptq", "promote", "--by", "Jo")
    watch = ("ptq", "watch", "--once")
    rollback = ("ptq", "rollback", "--to", "v0001", "--reason", "to see")
    waive = (
        *("ptq", "waive", "candidate.limit", "--group", "Sandal", "--reason", "the shop agreed"),
        *("--expires", (date.today() + timedelta(days=30)).isoformat()),
    )
    scenes = [Scene("kedro run", ("run",), keep("empty"), 15)]
    done("run")
    scenes.append(Scene("promote", promote, keep("decided"), 20))
    done(*promote)
    scenes.append(Scene("waive", waive, keep("serving"), 20))
    story.deliver_calm("2027-01-01")
    scenes.append(Scene("watch, calm", watch, keep("calm"), 15))
    done(*watch)
    story.deliver_drifted("2027-01-02")
    scenes.append(Scene("watch, drifted", watch, keep("drifted"), 10))
    done(*watch)
    # It says "v0001 serves already" where the kill came too late.
    scenes.append(Scene("rollback", rollback, keep("requantized"), 20, again=(0, 1)))
    return scenes


def preload() -> None:
    """Import what the commands import, once for all children."""
    import evidently  # noqa: F401
    import great_expectations  # noqa: F401
    import kedro.framework.cli
    import kedro.framework.session  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import onnxruntime  # noqa: F401
    import openvino  # noqa: F401
    import torch  # noqa: F401

    from ptq_pipeline import commands, pipelines

    for package in (commands, pipelines):
        for module in iter_modules(package.__path__):
            import_module(f"{package.__name__}.{module.name}")


def work(root: Path, kills: int, seed: int) -> dict[str, dict[str, int]]:
    """Kill so many commands; return the counts of each scene."""
    random = np.random.default_rng([2303, seed])
    preload()
    table = {}
    for scene in prepare(root):
        stage = Stage(root / "stage")
        expected, seconds = honest(stage, scene)
        apart = sorted(name for name, content in expected.items() if content is None)
        print(f"{scene.name}: {seconds:.1f} s; compared {len(expected) - len(apart)}", flush=True)
        print(f"  times and ids in {', '.join(apart) or 'none'}", flush=True)
        counts = Counter[str]()
        for _ in range(round(kills * scene.share / 100)):
            after = float(random.uniform(0, seconds))
            found, died = play(stage, scene, expected, after)
            counts["kills"] += 1
            counts["ended before"] += not died
            for kind in FAULTS:
                counts[kind] += bool(found[kind])
                for each in found[kind][:5]:
                    print(f"{kind}: {scene.name} after {after:.2f} s: {each}", flush=True)
        table[scene.name] = dict(counts)
    return table


def main() -> int:
    """Run the study in several processes and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--part", type=int, help="be one of the workers")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    os.environ |= {"DO_NOT_TRACK": "1", "GX_ANALYTICS_ENABLED": "false", "OMP_NUM_THREADS": "1"}
    if arguments.part is not None:
        table = work(arguments.folder, arguments.kills, arguments.part)
        (arguments.folder / "table.json").write_text(json.dumps(table), encoding="utf-8")
        return 0
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root, str(part)) for part in range(arguments.workers)]
        share = -(-arguments.kills // arguments.workers)
        processes = []
        for part, folder in enumerate(folders):
            folder.mkdir()
            options = ("--kills", str(share), "--part", str(part), "--folder", str(folder))
            processes.append(subprocess.Popen([sys.executable, __file__, *options]))
        if any([process.wait() for process in processes]):
            return 1
        tables = [json.loads((folder / "table.json").read_text()) for folder in folders]
    return report(tables)


def report(tables: list[dict[str, dict[str, int]]]) -> int:
    """Print the table; return 1 when something was found."""
    print("| command | kills | ended before | torn | different | littered |")
    print("|---|---|---|---|---|---|")
    total = Counter[str]()
    for name in (*tables[0], "all"):
        counts = total if name == "all" else Counter[str]()
        if name != "all":
            for table in tables:
                counts.update(table[name])
            total.update(counts)
        cells = (counts[kind] for kind in ("kills", "ended before", *FAULTS))
        print(f"| {name} | {' | '.join(map(str, cells))} |")
    return int(any(total[kind] for kind in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
