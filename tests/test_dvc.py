"""dvc.yaml, the catalog, the parameters and the code agree."""

import ast
import configparser
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ptq_pipeline.core.seals import seal_path
from ptq_pipeline.sealing import sealed_names

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "ptq_pipeline"
DVC: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES: dict[str, dict[str, Any]] = DVC["stages"]
CHAIN = [
    "data_loading",
    "calibration",
    "quantization",
    "subgroup_scoring",
    "worst_case_check",
    "drift",
    "promotion",
    "reporting",
]
# They outlive runs: a stage reads and extends them, DVC must neither delete nor check them out.
STATE = {"trial_store", "calibration_validation_cache", "registry", "champion", "audit_ledger"}
STATE |= {"decision_log"}  # the registry, as the report shows it
# Third-party HTML, measured speed and the page that shows it differ in every run; the lines for the
# terminal name a path.
UNTRACKED = {"drift_reports", "summary", "candidate_speed", "report"}
# What a terminal shows while a stage runs changes no result.
DISPLAY = {SOURCE / "reporting/progress.py", SOURCE / "reporting/__init__.py"}


def _names(entries: list) -> list[str]:
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for part in inner for text in _strings(part)]


def _catalog_paths() -> dict[str, list[str]]:
    known = yaml.safe_load((ROOT / "conf/base/globals.yml").read_text(encoding="utf-8"))
    paths = {}
    for file in sorted((ROOT / "conf/base").glob("catalog*.yml")):
        text = re.sub(
            r"\$\{globals:(\w+)\}",
            lambda found: known[found[1]],
            file.read_text(encoding="utf-8"),
        )
        for name, entry in yaml.safe_load(text).items():
            paths[name] = [part for part in _strings(entry) if re.match(r"data/\d\d_", part)]
    return paths


CATALOG = _catalog_paths()


def _paths(name: str) -> list[str]:
    """Return the files of a catalog entry, also of a pattern like ``"{figure}_figure"``."""
    if name in CATALOG:
        return CATALOG[name]
    for pattern, paths in CATALOG.items():
        found = re.fullmatch(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(pattern)), name)
        if found and "{" in pattern:
            return [path.format(**found.groupdict()) for path in paths]
    raise KeyError(f"'{name}' is not in the catalog")


def _pipeline(stage: str):
    return importlib.import_module(f"ptq_pipeline.pipelines.{stage}").create_pipeline()


def _within(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _outs(stage: str) -> list[str]:
    content = STAGES[stage]
    return [name for kind in ("outs", "metrics", "plots") for name in _names(content.get(kind, []))]


def test_one_stage_per_pipeline_of_the_chain() -> None:
    assert list(STAGES) == CHAIN
    for name, content in STAGES.items():
        assert (SOURCE / "pipelines" / name / "pipeline.py").is_file()
        assert content["cmd"] == f"kedro run --env base --pipelines {name}"


@pytest.mark.parametrize("stage", CHAIN)
def test_data_deps_are_what_the_pipeline_reads(stage: str) -> None:
    inputs = {
        name
        for name in _pipeline(stage).inputs() - STATE - UNTRACKED
        if not name.startswith("params:")
    }
    # The baseline is held against the registry, which is state, where there is one.
    read = {path for name in inputs for path in _paths(name)} - {"data/06_models/registry"}
    deps = [dep for dep in STAGES[stage]["deps"] if dep.startswith("data/")]
    missing = sorted(path for path in read if not _within(path, deps))
    assert not missing, f"{stage} reads {missing}, which are no deps"
    idle = sorted(dep for dep in deps if not any(_within(path, [dep]) for path in read))
    assert not idle, f"{stage} depends on {idle}, which it does not read"


@pytest.mark.parametrize("stage", CHAIN)
def test_outs_are_what_the_pipeline_writes(stage: str) -> None:
    pipeline = _pipeline(stage)
    outputs = pipeline.all_outputs() - UNTRACKED
    # What no other stage reads may stay in memory.
    kept = {name for name in outputs if name in CATALOG or name in pipeline.outputs()}
    written = {path for name in kept for path in _paths(name)}
    written |= {
        seal_path(Path(path)).as_posix()
        for name in kept & sealed_names() & CATALOG.keys()
        for path in _paths(name)
    }
    outs = _outs(stage)
    missing = sorted(path for path in written if not _within(path, outs))
    assert not missing, f"{stage} writes {missing}, which are no outs"
    idle = sorted(out for out in outs if not any(_within(path, [out]) for path in written))
    assert not idle, f"{stage} has the outs {idle}, which it does not write"


@pytest.mark.parametrize("stage", CHAIN)
def test_what_crosses_a_stage_stands_in_the_catalog(stage: str) -> None:
    pipeline = _pipeline(stage)
    for name in pipeline.inputs() | pipeline.outputs():
        assert name.startswith("params:") or _paths(name), f"'{name}' is nowhere on disk"


@pytest.mark.parametrize("stage", CHAIN)
def test_every_listed_parameter_exists_and_every_read_one_is_listed(stage: str) -> None:
    listed = set()
    for files in STAGES[stage]["params"]:
        for file, keys in files.items():
            content = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
            assert set(keys) <= set(content), f"{stage}: {file}"
            listed |= set(keys) if "parameters_" in file else set()
    pipeline = _pipeline(stage)
    read = {name.removeprefix("params:").split(".")[0] for name in pipeline.inputs()}
    assert listed == read & {p.stem.removeprefix("parameters_") for p in _parameter_files()}
    entries = [
        key
        for files in STAGES[stage]["params"]
        for file, keys in files.items()
        if "catalog" in file
        for key in keys
    ]
    configured = pipeline.inputs() & {"float_model", "image_source", "production_windows"}
    assert set(entries) == configured


def _parameter_files() -> list[Path]:
    return sorted((ROOT / "conf/base").glob("parameters_*.yml"))


def test_state_and_foreign_reports_are_no_outs() -> None:
    outs = [out for stage in CHAIN for out in _outs(stage)]
    for name in STATE | UNTRACKED:
        for path in CATALOG[name]:
            assert not _within(path, outs), f"{path} is inside an out"
            assert not any(_within(out, [path]) for out in outs), f"{path} holds an out"
    assert not any("registry" in out or "trials/" in f"{out}/" for out in outs)
    assert len(outs) == len(set(outs))


def test_what_plots_draw_are_outs_and_metrics_stand_in_git() -> None:
    outs = {out for stage in CHAIN for out in _outs(stage)}
    for plot in DVC["plots"]:
        (definition,) = plot.values()
        assert {*definition["x"], *definition["y"]} <= outs
    for stage in CHAIN:
        for metric in STAGES[stage].get("metrics", []):
            assert metric == {"data/08_reporting/metrics.json": {"cache": False}}
    assert "champion_baseline" in _pipeline("worst_case_check").inputs()
    baseline = next(path for path in CATALOG["champion_baseline"] if path.endswith(".json"))
    assert baseline not in outs, "only a release rewrites it"
    tracked = subprocess.run(
        ["git", "ls-files", "--error-unmatch", baseline],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert tracked.returncode == 0 or not (ROOT / ".git").exists()


def test_release_is_no_stage_and_no_stage_reads_the_registry() -> None:
    assert "release" not in STAGES
    for stage in CHAIN:
        assert not {"registry", "champion"} & _pipeline(stage).inputs()


def _imports(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    only_typing = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found: set[str] = set()
    for node in set(ast.walk(tree)) - only_typing:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("ptq_pipeline.")}


def _closure(stage: str) -> set[str]:
    """Return the places of all modules that a stage imports and that decide its results."""
    waiting = list((SOURCE / "pipelines" / stage).glob("*.py"))
    seen = set(waiting)
    while waiting:
        for name in _imports(waiting.pop()):
            module = SOURCE.joinpath(*name.split(".")[1:])
            for file in (module.with_suffix(".py"), module / "__init__.py"):
                # The parameters of other stages are checked by their models and listed as params.
                room = file.parent
                other = room.parent.name == "pipelines" and room.name != stage
                foreign = file.name == "parameters.py" and other
                if file.is_file() and file not in seen | DISPLAY and not foreign:
                    seen.add(file)
                    waiting.append(file)
    # What pipelines share lies beside their folders.
    places = {file if file.parent == SOURCE / "pipelines" else file.parent for file in seen}
    places = {place.relative_to(SOURCE) for place in places if place.name != "__init__.py"}
    # Modules on the package's top level are what Kedro asks for: hooks, seals, mounts.
    return {place.as_posix() for place in places if place.parts}


@pytest.mark.parametrize("stage", CHAIN)
def test_code_deps_are_what_the_stage_imports(stage: str) -> None:
    deps = [dep for dep in STAGES[stage]["deps"] if dep.startswith("src/")]
    assert all((ROOT / dep).exists() for dep in deps)
    folders = [dep.removeprefix("src/ptq_pipeline/") for dep in deps]
    closure = _closure(stage)
    missing = sorted(folder for folder in closure if not _within(folder, folders))
    assert not missing, f"{stage} imports {missing}, which are no deps"
    # The catalog names datasets by their dotted path; no import shows them.
    idle = [f for f in folders if not f.startswith("datasets/") and f not in closure]
    assert not idle, f"{stage} depends on {idle}, which it does not import"


def test_dvc_reads_the_file_and_phones_nobody() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout.split() == CHAIN
    config = configparser.ConfigParser()
    config.read(ROOT / ".dvc/config")
    core = {key.strip(): value for key, value in config["core"].items()}
    assert core == {"analytics": "false", "check_update": "false", "autostage": "false"}
