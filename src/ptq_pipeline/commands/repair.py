"""``kedro ptq repair``: search for the recipe whose worst group is best, and audit it."""

import io
from collections.abc import Iterable, Iterator

import click

from ptq_pipeline.commands.command import Answer
from ptq_pipeline.commands.project_command import project_command
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import write_file
from ptq_pipeline.project import Project
from ptq_pipeline.reporting.figures.pareto import draw_pareto
from ptq_pipeline.reporting.progress import track
from ptq_pipeline.routines import repair as routine
from ptq_pipeline.routines.repair.environment import check_environment
from ptq_pipeline.routines.repair.space import AS_IT_IS, Variant

SHOWN = 12


@project_command(
    epilog="Exits with 0 when the winner's audit passes (or --search-only found one that keeps "
    "its limits), 3 when nothing helps or its audit fails, 4 when it is inconclusive. What may be "
    "tried is in conf/base/parameters_repair.yml. Example: kedro ptq repair"
)
@click.option("--from-scratch", is_flag=True, help="Search before any audit.")
@click.option("--search-only", is_flag=True, help="Write the environment; do not audit the winner.")
@click.option("--name", default="repaired", show_default=True, help="Environment to write.")
def repair(project: Project, from_scratch: bool, search_only: bool, name: str) -> Answer:
    """Search for the recipe whose worst judged group is best, and audit the winner.

    The search sees pool and selection images only, under all shifts; results stay in the trial
    store, so a search that was interrupted goes on. The winner becomes an environment for `kedro
    run --env`, and its one audit is entered in the ledger.
    """
    check_environment(project.root, name)
    if from_scratch:
        _load_data(project)
    elif routine.needs_repair(project).result == "PASS":
        line = "the last audit passed: there is nothing to repair"
        return Answer({"says": line}, [line])
    found = routine.repair(project, name, _watch, audit=not search_only)
    folder = project.root / project.path("verdict").parent
    write_file(folder / routine.REPAIR_FILE, found.model_dump_json(indent=2).encode() + b"\n")
    write_file(folder / routine.FIGURE_FILE, _drawn(found))
    return Answer(found.to_json(), _lines(found), code=found.code)


def _drawn(found: routine.Repair) -> bytes:
    rows = [row for row in found.recipes if row.limit_share is not None]
    points = [(row.name, row.size, row.limit_share or 0.0) for row in rows]
    buffer = io.BytesIO()
    draw_pareto(points, AS_IT_IS).savefig(buffer, format="svg")
    return buffer.getvalue()


def _load_data(project: Project) -> None:
    try:
        for dataset in ("samples", "images", "profiles", "group_definitions"):
            project.load(dataset)
    except InputError:
        project.run("data_loading")


def _watch(items: Iterable[Variant], total: int, text: str) -> Iterator[Variant]:
    return track(items, total, text)


def _lines(found: routine.Repair) -> Iterator[str]:
    heads = [f"{name:>6s}" for name in ("limit", "class", "segm.", "avg.")]
    yield f"{' '.join(heads)} {'bytes':>10s} draws  recipe"
    for row in found.recipes[:SHOWN]:
        if row.limit_share is None:
            continue
        drops = (row.worst_class, row.worst_segment, row.average)
        shown = " ".join(f"{'-' if drop is None else f'{drop:.2f}':>6s}" for drop in drops)
        share = f"{100 * row.limit_share:.0f} %"
        yield f"{share:>6s} {shown} {row.size:>10,d} {row.draws:>5d}  {row.name}"
    yield from (f"failed: {row.name}: {row.error}" for row in found.recipes if row.error)
    yield from (f"note: {note}" for note in found.notes)
    yield found.says
    if found.environment is not None:
        yield f"kedro run --env {found.environment}"
    if found.verdict is not None:
        yield f"audited: {found.headline}"
        if found.latency_ms is not None:
            before = found.configured_latency_ms
            beside = "" if before is None else f"; the configured recipe's takes {before:.2f}"
            yield f"One image takes {found.latency_ms:.2f} ms in the winner's file{beside}."
    elif found.helps and not found.holds:
        yield "It breaks a limit on the selection images already, so the audit was not opened."
