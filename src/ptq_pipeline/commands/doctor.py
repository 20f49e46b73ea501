"""``kedro ptq doctor``: look at everything that an audit needs, and say what to do."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Literal, NamedTuple

import click
import numpy as np
from packaging.requirements import Requirement

from ptq_pipeline.commands.command import Answer
from ptq_pipeline.commands.plan import planned
from ptq_pipeline.commands.project_command import project_command
from ptq_pipeline.configuration import check_parameters, checked
from ptq_pipeline.core.errors import PtqPipelineError, first_fault
from ptq_pipeline.core.exits import ExitCode
from ptq_pipeline.core.inputs import require_no_secret
from ptq_pipeline.core.provenance import exact_products, git_state
from ptq_pipeline.images.source import ImageSource, UnreadableImage
from ptq_pipeline.pipelines.data_loading.nodes import check_source
from ptq_pipeline.pipelines.data_loading.parameters import DataLoadingParameters
from ptq_pipeline.project import Project
from ptq_pipeline.trials.executors import DaskExecutor
from ptq_pipeline.trials.readiness import LOOKED_AT, require_servable
from ptq_pipeline.trials.recipe import ExecutorParameters, Recipe

LEAST_FREE_GIB = 2
MOST_GROUPS = 5
Status = Literal["ok", "warn", "fail"]
MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


class Finding(NamedTuple):
    """What a check found of a topic; ``warn`` means that an audit runs, ``fail`` that it will not.

    Unless all is fine the text says what to do.
    """

    topic: str
    status: Status
    text: str


@project_command(
    epilog="Exits with 1 when something would stop an audit. "
    "Example: kedro ptq doctor --mount shop",
)
@click.option("--scheduler", metavar="ADDRESS", help="Ask each worker of this Dask scheduler, too.")
def doctor(project: Project, scheduler: str | None) -> Answer:
    """Check versions, processor, runtimes, telemetry, git and DVC, and the data of this project."""
    checks = CHECKS if scheduler is None else (*CHECKS, partial(check_scheduler, scheduler))
    findings = [finding for check in checks for finding in _found(check, project)]
    bad = any(finding.status == "fail" for finding in findings)
    return Answer(
        [finding._asdict() for finding in findings],
        [f"{MARKS[each.status]}  {each.topic:12s}  {each.text}" for each in findings],
        code=ExitCode.ERROR if bad else ExitCode.DONE,
    )


Check = Callable[[Project], Iterator[Finding]]


def _either(topic: str, ok: bool, fine: str, otherwise: str, status: Status = "warn") -> Finding:
    return Finding(topic, "ok", fine) if ok else Finding(topic, status, otherwise)


def _found(check: Check, project: Project) -> list[Finding]:
    """One check that breaks is a finding, not the end of the others."""
    try:
        return list(check(project))
    except Exception as error:  # noqa: BLE001 - whatever is broken is what the doctor is for
        text = f"could not be checked: {type(error).__name__}: {error}"
        topic = getattr(check, "__name__", "check_scheduler").removeprefix("check_")
        return [Finding(topic, "fail", text)]


def check_versions(project: Project) -> Iterator[Finding]:
    """Every requirement of the package is installed in an allowed version."""
    wrong = []
    for text in requires("ptq-pipeline") or []:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} does not satisfy {requirement.specifier}")
    fine = f"ptq-pipeline {version('ptq-pipeline')} and what it needs"
    advice = "install ptq-pipeline again in a fresh environment"
    yield _either("versions", not wrong, fine, f"{'; '.join(wrong)}: {advice}", "fail")


def check_configuration(project: Project) -> Iterator[Finding]:
    """Every setting that a pipeline reads holds."""
    try:
        check_parameters(project.parameters)
    except PtqPipelineError as error:
        yield Finding("parameters", "fail", str(error))
    else:
        yield Finding("parameters", "ok", "every setting holds")


def check_processor(project: Project) -> Iterator[Finding]:
    """The processor multiplies 8-bit integers without saturating."""
    exact = exact_products()
    fine = f"exact 8-bit products ({', '.join(exact)})"
    otherwise = (
        "no VNNI or dot-product instructions: 8-bit products may saturate, so look at the parity "
        "table of the report"
    )
    yield _either("processor", bool(exact), fine, otherwise)


def check_runtimes(project: Project) -> Iterator[Finding]:
    """The serving runtime can be loaded."""
    given = dict(project.group("quantization").get("runtime", {}))
    name = given.pop("name", "openvino")
    given.pop("batch_size", None)
    try:
        # Here: a package that cannot be imported is a finding.
        from ptq_pipeline.runtimes import build_runtime

        yield Finding("runtime", "ok", f"{name} {build_runtime(name, **given).version}")
    except (ImportError, PtqPipelineError) as error:
        yield Finding("runtime", "fail", f"{name}: {error}")


def check_telemetry(project: Project) -> Iterator[Finding]:
    """Kedro's telemetry is off; the other libraries' is switched off by this package."""
    consent = project.root / ".telemetry"
    refused = consent.is_file() and "false" in consent.read_text(encoding="utf-8").lower()
    off = refused or bool(os.environ.get("DO_NOT_TRACK"))
    otherwise = "Kedro's is not refused: write `consent: false` into .telemetry and commit it"
    yield _either("telemetry", off, "off", otherwise)


def check_git_and_dvc(project: Project) -> Iterator[Finding]:
    """Results can be traced to a revision, and data to its hashes."""
    state = git_state(project.root)
    if state["revision"] is None:
        yield Finding("git", "warn", "no git repository: records will name no revision; `git init`")
    elif state["dirty"]:
        yield Finding("git", "warn", "the tree has changes: records will say that it was dirty")
    else:
        yield Finding("git", "ok", f"clean at {state['revision'][:12]}")
    if not (project.root / ".dvc").is_dir():
        yield Finding("dvc", "warn", "not set up: nobody can reproduce this audit; `dvc init`")
        return
    dvc = shutil.which("dvc")
    if dvc is None:
        yield Finding("dvc", "warn", "the command `dvc` is not on PATH: activate the environment")
        return
    status = subprocess.run(
        [dvc, "status", "--quiet"], cwd=project.root, capture_output=True, check=False
    )
    otherwise = "some stage is not up to date: `dvc status` says which"
    yield _either("dvc", status.returncode == 0, "every stage is up to date", otherwise)


def check_data(project: Project) -> Iterator[Finding]:
    """Images and model are there, fit each other, and go the whole way: as a run checks them."""
    topic = "float_model"
    try:
        model = project.load(topic)
        yield Finding(topic, "ok", f"{len(model.classes)} classes")
        topic = "image_source"
        source = project.load(topic)
        loading = checked("data_loading", project.group("data_loading"), DataLoadingParameters)
        check_source(source, model, loading.metadata.most_values)
        images = _first_images(source)
        yield Finding(topic, "ok", f"{len(source.table):,} images, of which some were decoded")
        topic = "served"
        recipe = checked("quantization", project.group("quantization"), Recipe)
        require_servable(model, images, recipe)
        text = "converted, quantized with a few images, exported and executed"
        yield Finding(topic, "ok", text)
    except PtqPipelineError as error:
        yield Finding(topic, "fail", str(error))


def _first_images(source: ImageSource) -> np.ndarray:
    """Decode some images, spread over all.

    Raises:
        InputError: None can be decoded.
    """
    rows = np.unique(np.linspace(0, len(source.table) - 1, LOOKED_AT).astype(int))
    found = []
    for row in rows:
        try:
            found.append(source.read(int(row)))
        except UnreadableImage as error:
            last = error
    if not found:
        raise last
    return np.stack(found)


def check_groups(project: Project) -> Iterator[Finding]:
    """Every class and segment has images enough to be judged; known once data are loaded."""
    try:
        project.load("samples")
    except PtqPipelineError:
        text = "known after `kedro run --pipelines data_loading`; then `kedro ptq plan` tells more"
        yield Finding("groups", "ok", text)
        return
    try:
        budget, *_ = planned(project)
    except PtqPipelineError as error:
        yield Finding("groups", "fail", str(error))
        return
    lacking = [each for each in budget.groups if each.left_out]
    if not lacking:
        yield Finding("groups", "ok", "every class and segment has images enough to be judged")
    for each in lacking[:MOST_GROUPS]:
        way = "" if each.blocks else ", which policy allows"
        text = f"{each.level} {each.group} has {each.n:,} audit images and needs {each.needed_n:,}"
        yield Finding("groups", "warn", f"{text}: it will not be judged{way}")
    if len(lacking) > MOST_GROUPS:
        yield Finding("groups", "warn", f"{len(lacking) - MOST_GROUPS:,} more are too small too")


def check_disk(project: Project) -> Iterator[Finding]:
    """There is room for images, trials and models."""
    free = shutil.disk_usage(project.root).free / 2**30
    text, advice = f"{free:.1f} GiB free", f"; an audit wants {LEAST_FREE_GIB}: free some"
    yield _either("disk", free >= LEAST_FREE_GIB, text, text + advice, "fail")


def check_scheduler(address: str, project: Project) -> Iterator[Finding]:
    """Some worker of a Dask scheduler may take trials, with the credentials of the settings."""
    settings = project.group("quantization").get("executor", {}).get("security")
    try:
        require_no_secret(address, "--scheduler")
        security = settings if address.startswith("tls://") else None
        executor = ExecutorParameters(kind="dask", address=address, security=security).build()
        assert isinstance(executor, DaskExecutor)
        found = executor.survey()
    except (PtqPipelineError, ValueError) as error:
        yield Finding("scheduler", "fail", first_fault(error))
        return
    if not found:
        way = f"start some: dask worker {address} --nthreads 1"
        yield Finding("scheduler", "fail", f"'{address}' has no worker; {way}")
    for worker, (machine, refused) in found.items():
        where = f"{worker} on {machine.host}" if machine else worker
        if refused:
            yield Finding("worker", "warn", f"{where} would be refused: {refused}")
        elif machine:
            room = f"{machine.held / 1e9:.1f} of {machine.limit / 1e9:.1f} GB"
            free = f"{machine.free / 1e9:.1f} GB free on the disk"
            yield Finding("worker", "ok", f"{where}; cache '{machine.cache}': {room}, {free}")
    if found and all(refused for _, refused in found.values()):
        yield Finding("scheduler", "fail", f"'{address}' has no worker that may take trials")


CHECKS: tuple[Check, ...] = (
    check_versions,
    check_configuration,
    check_processor,
    check_runtimes,
    check_telemetry,
    check_git_and_dvc,
    check_data,
    check_groups,
    check_disk,
)
