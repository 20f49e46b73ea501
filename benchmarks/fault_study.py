"""What becomes of a verdict when something that it rests on is poisoned, swapped, stale or flipped.

A small audit is run once. Then, case by case, one file that a run or a command reads is damaged,
the rest of the chain is run, the file is put back, and the chain is run again. A case is

- *found* when the damaged run ends in an error, or the damage is noticed and computed again;
- *harmless* when nobody says anything and the verdict is the honest one all the same;
- *silent* when a verdict, a decision or an answer of ``gate`` differs without an error, or still
  differs after the file was put back.

Usage: ``python benchmarks/fault_study.py [--cases N] [--workers N] [--keep FOLDER]`` (or
``make fault-study``).
It prints the table of docs/security.md and exits with 1 when a case was silent.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from click.testing import CliRunner

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests"))

from project import SmallProject  # noqa: E402
from ptq_pipeline.core.errors import PtqPipelineError  # noqa: E402

STAGES = (
    *("data_loading", "calibration", "quantization", "subgroup_scoring"),
    *("worst_case_check", "promotion"),
)
# Files of one folder, and the first stage that reads them.
READERS = {
    "01_raw/fashion_mnist": "data_loading",
    "06_models/reference/resnet20.safetensors": "data_loading",
    "03_primary": "calibration",
    "04_feature": "calibration",
    "05_model_input/calibration_sets": "quantization",
    "05_model_input/calibration_set_index.parquet": "quantization",
    "05_model_input/stressed_images": "quantization --from-nodes run_trials",
    "07_model_output/trials/": "quantization",
    "07_model_output/calibration_validation_cache.json": "calibration",
    "07_model_output/trials.parquet": "subgroup_scoring",
    "07_model_output/predictions.parquet": "subgroup_scoring",
    "07_model_output/float_predictions.parquet": "subgroup_scoring",
    "07_model_output/scores.parquet": "worst_case_check",
    "07_model_output/candidate_baseline.json": "promotion",
    "08_reporting/verdict.json": "promotion",
    "08_reporting/champion_comparison.json": "promotion",
    "06_models/audit_ledger.jsonl": "worst_case_check",
    "06_models/champion_baseline.json": "worst_case_check",
    "06_models/candidate": "gate",
    "08_reporting/decision.json": "gate",
    "08_reporting/candidate_execution.json": "gate",
}
ANSWERS = ("verdict.json", "decision.json")


@dataclass(frozen=True)
class Case:
    """One file, what is done to it, and the first stage that reads it."""

    path: Path
    kind: str
    damage: Callable[[Path, np.random.Generator], None]
    reader: str


def flip(path: Path, random: np.random.Generator) -> None:
    """Turn one bit."""
    content = bytearray(path.read_bytes())
    position = int(random.integers(len(content)))
    content[position] ^= 1 << int(random.integers(8))
    path.write_bytes(bytes(content))


def poison(path: Path, random: np.random.Generator) -> None:
    """Overwrite a tenth of the bytes in place, and set the time of the file back."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.seek(size // 2)
        stream.write(bytes(max(1, size // 10)))
    os.utime(path, ns=times)


def shorten(path: Path, random: np.random.Generator) -> None:
    """Lose the second half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def empty(path: Path, random: np.random.Generator) -> None:
    """Lose everything but the name."""
    path.write_bytes(b"")


def lose(path: Path, random: np.random.Generator) -> None:
    """Lose the file."""
    path.unlink()


def swap_with(other: Path) -> Callable[[Path, np.random.Generator], None]:
    """Put another file in its place."""

    def swap(path: Path, random: np.random.Generator) -> None:
        shutil.copyfile(other, path)

    return swap


def edit(path: Path, random: np.random.Generator) -> None:
    """Change a result in JSON text, or the rows of a table or an array, and keep the form."""
    if path.suffix in (".json", ".jsonl"):
        text = path.read_text(encoding="utf-8")
        for old, new in (
            *(("FAIL", "PASS"), ("refuse", "promote"), ("INCONCLUSIVE", "PASS")),
            *(("0", "1"), ("1", "2"), ("null", "true"), ("{", '{"x": 1, ')),
        ):
            if old in text:
                path.write_text(text.replace(old, new, 1), encoding="utf-8")
                return
    elif path.suffix == ".parquet":
        import pandas as pd

        table = pd.read_parquet(path)
        turned = table.iloc[::-1].reset_index(drop=True)
        for name in ("label", "predicted", "lost", "brightness"):
            if name in table:
                table[name] = turned[name]
                break
        else:
            table = turned
        table.to_parquet(path)
    elif path.suffix == ".npy":
        np.save(path, 255 - np.load(path))
    else:
        flip(path, random)


def cases(data: Path, stale: Path, wanted: int, random: np.random.Generator) -> list[Case]:
    """Return the cases: every kind on every file, flips again until there are enough."""
    files = [
        (path, reader)
        for path in sorted(data.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and (reader := _reader(path, data))
    ]
    # One of many calibration sets, trials or statistics represents all.
    chosen, seen = [], Counter[str]()
    for path, reader in files:
        group = f"{path.parent.relative_to(data)}{path.suffix}"
        if path.name.count("_") == 0 and len(path.stem) >= 16:
            seen[group] += 1
            if seen[group] > 3:
                continue
        chosen.append((path, reader))
    found = []
    for path, reader in chosen:
        kinds: list[tuple[str, Callable[[Path, np.random.Generator], None]]] = [
            *(("flipped bit", flip), ("poisoned in place", poison), ("shortened", shorten)),
            *(("emptied", empty), ("lost", lose), ("edited", edit)),
        ]
        old = stale / path.relative_to(data)
        if old.exists() and old.read_bytes() != path.read_bytes():
            kinds.append(("of another configuration", swap_with(old)))
        like = [p for p, _ in chosen if p.suffix == path.suffix and p.parent == path.parent != p]
        like = [p for p in like if p != path]
        if like:
            kinds.append(("swapped", swap_with(like[0])))
        found += [Case(path, kind, damage, reader) for kind, damage in kinds]
    # Who takes an old file often takes its seal with it.
    for path, reader in chosen:
        old = stale / path.relative_to(data)
        seal = path.parent / ".seals" / f"{path.name}.json"
        if seal.exists() and old.exists() and old.read_bytes() != path.read_bytes():
            found.append(Case(path, "of another configuration, with its seal", _both(old), reader))
    more = random.permutation(len(chosen))
    for position in range(max(0, wanted - len(found))):
        path, reader = chosen[more[position % len(more)]]
        found.append(Case(path, "flipped bit", flip, reader))
    # In no order, so that a study that is stopped early has seen some of everything.
    return [found[position] for position in random.permutation(len(found))]


def _both(old: Path) -> Callable[[Path, np.random.Generator], None]:
    def swap(path: Path, random: np.random.Generator) -> None:
        shutil.copyfile(old, path)
        name = f".seals/{path.name}.json"
        shutil.copyfile(old.parent / name, path.parent / name)

    return swap


def _reader(path: Path, data: Path) -> str | None:
    name = path.relative_to(data).as_posix()
    matching = [key for key in READERS if name.startswith(key)]
    return READERS[max(matching, key=len)] if matching else None


class Study:
    """A finished small audit, and what is honest about it."""

    def __init__(self, project: SmallProject) -> None:
        self.project = project
        self.data = project.root / "data"
        self.backup = project.root.with_name(f"{project.root.name}_backup")
        os.chdir(project.root)
        from kedro.framework.startup import bootstrap_project

        bootstrap_project(project.root)
        self.run("data_loading")
        shutil.copytree(self.data, self.backup, symlinks=True)
        self.honest = self.answers()

    def run(self, first: str) -> str:
        """Run the chain from a stage on; return what was said on the way."""
        from kedro.framework.session import KedroServiceSession
        from kedro.io import DatasetError

        stage, _, option = first.partition(" --from-nodes ")
        stages = list(STAGES[STAGES.index(stage) :])
        heard = io.StringIO()
        handler = logging.StreamHandler(heard)
        handler.setLevel(logging.WARNING)
        with KedroServiceSession.create(project_path=self.project.root) as session:
            logging.getLogger("ptq_pipeline").addHandler(handler)
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    session.run(pipeline_names=stages, from_nodes=[option] if option else None)
            except DatasetError as error:
                raise PtqPipelineError(str(error)) from error
            finally:
                logging.getLogger("ptq_pipeline").removeHandler(handler)
        return heard.getvalue()

    def gate(self) -> tuple[int, str]:
        """Return exit code and output of ``gate``."""
        from ptq_pipeline.commands import ptq

        done = CliRunner().invoke(ptq, ["gate", "--json"])
        return done.exit_code, done.output

    def answers(self) -> dict[str, object]:
        """Return what the audit says."""
        found: dict[str, object] = {
            name: json.loads((self.data / "08_reporting" / name).read_text(encoding="utf-8"))
            for name in ANSWERS
        }
        return {**found, "gate": self.gate()}

    def restore(self) -> None:
        """Put everything back that differs, files that were added and all."""
        for path in self.data.rglob("*"):
            if path.is_file() and not (self.backup / path.relative_to(self.data)).exists():
                path.unlink()
        for path in self.backup.rglob("*"):
            target = self.data / path.relative_to(self.backup)
            if path.is_file() and (
                not target.is_file() or target.read_bytes() != path.read_bytes()
            ):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)

    def put_back(self, case: Case) -> None:
        """Put back the one file, as its owner would: the rest is as the damaged run left it."""
        case.path.parent.mkdir(parents=True, exist_ok=True)
        for name in (case.path, case.path.parent / ".seals" / f"{case.path.name}.json"):
            saved = self.backup / name.relative_to(self.data)
            if saved.exists():
                shutil.copy2(saved, name)

    def judge(self, case: Case, random: np.random.Generator) -> tuple[str, str]:
        """Damage, run, put back, run again; return the outcome and what was said."""
        case.damage(case.path, random)
        if not case.path.exists() or case.path.read_bytes() != self._saved(case):
            outcome, said = self._damaged(case)
        else:
            return "harmless", "nothing was changed"
        self.put_back(case)
        if outcome != "found at once" and case.reader != "gate":
            self.run("data_loading")
            if self.answers() != self.honest:
                outcome = "silent"
                said += " (still wrong after the file was put back)"
        self.restore()
        return outcome, said

    def _saved(self, case: Case) -> bytes:
        return (self.backup / case.path.relative_to(self.data)).read_bytes()

    def _damaged(self, case: Case) -> tuple[str, str]:
        if case.reader == "gate":
            answer = self.gate()
            if answer == self.honest["gate"]:
                return "harmless", ""
            code, output = answer
            return ("found at once" if code == 1 else "silent"), output
        before = self._stamps()
        try:
            said = self.run(case.reader)
        except PtqPipelineError as error:
            untouched = before == self._stamps()
            return "found at once" if untouched else "found", str(error)
        except Exception as error:  # a crash is no wrong verdict, but no sentence either
            return "crashed", f"{type(error).__name__}: {error}"
        if self.answers() != self.honest:
            return "silent", said
        return ("found" if said else "harmless"), said

    def _stamps(self) -> dict[Path, int]:
        return {
            path: path.stat().st_mtime_ns
            for path in self.data.rglob("*")
            if path.is_file() and ".seals" not in path.parts and not path.name.startswith(".run")
        }


@contextlib.contextmanager
def folder(kept: Path | None) -> Iterator[Path]:
    """Yield a folder for the projects."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def work(root: Path, part: int, parts: int, wanted: int) -> None:
    """Judge every case of one worker; write outcome, kind, file and sentence of each."""
    logging.disable(logging.INFO)
    project = SmallProject(PROJECT, root / f"honest_{part}")
    study = Study(project)
    planned = cases(study.data, root / "other/data", wanted, np.random.default_rng(2303))
    if part == 0:
        print(f"{len(planned)} cases on {len({case.path for case in planned})} files", flush=True)
    with outcomes(root, part).open("w", encoding="utf-8") as found:
        for number in range(part, len(planned), parts):
            case = planned[number]
            outcome, said = study.judge(case, np.random.default_rng([2303, number]))
            name = case.path.relative_to(study.data)
            sentence = " ".join(said.split())[:400]
            print(f"{outcome}\t{case.kind}\t{name}\t{sentence}", file=found, flush=True)
            if outcome in ("silent", "crashed"):
                print(f"{outcome}: {case.kind}: {name}: {sentence}", flush=True)


def outcomes(root: Path, part: int) -> Path:
    """Return where a worker writes what it found."""
    return root / f"outcomes_{part}.txt"


def main() -> int:
    """Run the study in several processes and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=300, help="at least so many")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="keep the projects and every sentence here")
    parser.add_argument("--part", type=int, help="be one of the workers")
    arguments = parser.parse_args()
    os.environ |= {"DO_NOT_TRACK": "1", "GX_ANALYTICS_ENABLED": "false", "OMP_NUM_THREADS": "1"}
    parts = arguments.workers
    if arguments.part is not None:
        work(arguments.keep, arguments.part, parts, arguments.cases)
        return 0
    with folder(arguments.keep) as root:
        other = SmallProject(PROJECT, root / "other")
        other.change("stress", gaussian_noise={"sigma": 0.4})
        other.change("calibration", seed=1)
        code, output = other.run("--pipelines", ",".join(STAGES))
        if code:
            print(output)
            return 1
        options = (*("--cases", str(arguments.cases), "--workers", str(parts)), "--keep", str(root))
        workers = [
            subprocess.Popen([sys.executable, __file__, *options, "--part", str(part)])
            for part in range(parts)
        ]
        if any([worker.wait() for worker in workers]):
            return 1
        table: dict[str, Counter[str]] = {}
        for part in range(parts):
            for line in outcomes(root, part).read_text(encoding="utf-8").splitlines():
                outcome, kind = line.split("\t")[:2]
                table.setdefault(kind, Counter())[outcome] += 1
        return report(table)


def report(table: dict[str, Counter[str]]) -> int:
    """Print the table; return 1 when a case was silent."""
    print("| kind | cases | found | harmless | crashed | silent |\n|---|---|---|---|---|---|")
    total = Counter[str]()
    for kind, counts in [*sorted(table.items()), ("all", total)]:
        if kind != "all":
            total += counts
        found = counts["found at once"] + counts["found"]
        print(
            f"| {kind} | {sum(counts.values())} | {found} | {counts['harmless']} "
            f"| {counts['crashed']} | {counts['silent']} |"
        )
    return int(total["silent"] > 0 or total["crashed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
