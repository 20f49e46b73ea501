"""`kedro ptq watch` and `ladder`: they start Kedro sessions, so that no node has to."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from filelock import FileLock, Timeout

from ptq_pipeline.commands.command import Answer
from ptq_pipeline.commands.project_command import project_command
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.exits import ExitCode
from ptq_pipeline.project import Project
from ptq_pipeline.routines.ladder import audit_recipes
from ptq_pipeline.routines.watch import Watch

_CODES = (
    "Exits with 0 when there is nothing to do or a new version was promoted, 6 when another watch "
    "is at work, 10 when requantization is advised (or, with --dry-run, a re-audit), 11 when the "
    "champion failed and no candidate passed, 12 when none of these and a window was set aside."
)


@project_command(epilog=f"{_CODES} Example, for cron: kedro ptq watch --once")
@click.option("--once", is_flag=True, required=True, help="Look once and end; cron calls again.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; remember nothing.")
def watch(project: Project, once: bool, dry_run: bool) -> Answer:
    """Look at new production windows; re-audit and requantize when they have drifted.

    The champion serves on until a candidate has passed the same gate, on old and new images. Two
    calls at once do not both act: the second says so and ends with 6.
    """
    path = project.root / project.path("watch_state").parent / "watch.lock"
    with _alone(path) as first:
        report = Watch(project, dry_run).once() if first else _busy(path)
    warnings = [f"warning: {each}" for each in report.get("warnings", ())]
    rungs = [f"  {rung}" for rung in _rungs(report)]
    lines = [*_windows(report), _done(report), *rungs, *_champion(report)]
    return Answer(report, lines, warnings, report["exit_code"])


@project_command(
    epilog="Exits with 0 when a recipe passes, 4 when one is inconclusive, 11 when none passes. "
    "Example: kedro ptq ladder",
)
def ladder(project: Project) -> Answer:
    """Audit the recipes of `ladder.recipes` in order until one passes.

    Each is a whole audit of its own. A recipe that is INCONCLUSIVE ends it: more images or draws
    would settle that, another recipe would not. When none passes, the registry records that
    retraining is needed, with the evidence, and what serves meanwhile; nothing moves.
    """
    report = audit_recipes(project)
    lines = [*_rungs(report), _done(report), *_champion(report)]
    return Answer(report, lines, code=report["exit_code"])


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Hold a lock that ends with the process; yield whether it was free."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise InputError(f"'{path}' cannot be locked ({error}); free it") from error
    try:
        yield True
    finally:
        lock.release()


def _busy(path: Path) -> dict[str, Any]:
    reason = f"another watch is at work and holds '{path}'; nothing was looked at, call again later"
    return {"action": "busy", "reason": reason, "exit_code": int(ExitCode.BUSY)}


def _windows(report: dict[str, Any]) -> Iterator[str]:
    for record in report.get("windows", ()):
        drifted = "drifted" if record["drifted"] else "calm"
        found = drifted if record["status"] == "accepted" else record["status"]
        late = ", late" if record["late"] else ""
        yield f"window {record['window']}: {found}{late}  {record['reason']}".rstrip()
    if report.get("set_aside"):
        yield f"set aside: {', '.join(report['set_aside'])} ({report['set_aside_in_all']} in all)"


def _done(report: dict[str, Any]) -> str:
    return f"{report['action']}: {report['reason']}"


def _rungs(report: dict[str, Any]) -> list[str]:
    return [
        f"{rung['decision']:12s}  {rung['name']}: {rung['headline']}"
        for rung in report.get("ladder", ())
    ]


def _champion(report: dict[str, Any]) -> list[str]:
    return [f"champion: {report['champion'] or 'none yet'}"] if "champion" in report else []
