"""`kedro ptq watch`: it starts Kedro sessions, so that no node has to."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ptq_pipeline.commands.exit_codes import ExitCode
from ptq_pipeline.commands.project import mount_option, opened
from ptq_pipeline.commands.running import command, env_option, json_option, print_json
from ptq_pipeline.errors import InputError

_CODES = (
    "Exits with 0 when there is nothing to do or a new version was promoted, 6 when another watch "
    "is at work, 10 when requantization is advised (or, with --dry-run, a re-audit), 11 when the "
    "champion failed and no candidate passed, 12 when none of these and a window was set aside."
)


@command("watch", epilog=f"{_CODES} Example, for cron: kedro ptq watch --once")
@click.option("--once", is_flag=True, required=True, help="Look once and end; cron calls again.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; remember nothing.")
@env_option
@mount_option
@json_option
def watch(once: bool, dry_run: bool, env: str | None, mount: str | None, as_json: bool) -> int:
    """Look at new production windows; re-audit and requantize when they have drifted.

    The champion serves on until a candidate has passed the same gate, on old and new images. Two
    calls at once do not both act: the second says so and ends with 6.
    """
    from ptq_pipeline.commands.watching import Watch

    with opened(env, mount) as project:
        path = project.root / project.path("watch_state").parent / "watch.lock"
        with _alone(path) as first:
            report = Watch(project, env, dry_run).once() if first else _busy(path)
    if as_json:
        print_json(report)
    else:
        _print(report)
    return int(report["exit_code"])


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Hold a lock that ends with the process; yield whether it was free."""
    from filelock import FileLock, Timeout

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


def _print(report: dict[str, Any]) -> None:
    for record in report.get("windows", ()):
        drifted = "drifted" if record["drifted"] else "calm"
        found = drifted if record["status"] == "accepted" else record["status"]
        late = ", late" if record["late"] else ""
        click.echo(f"window {record['window']}: {found}{late}  {record['reason']}".rstrip())
    if report.get("set_aside"):
        click.echo(
            f"set aside: {', '.join(report['set_aside'])} ({report['set_aside_in_all']} in all)"
        )
    for warning in report.get("warnings", ()):
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{report['action']}: {report['reason']}")
    for rung in report.get("ladder", ()):
        click.echo(f"  {rung['decision']:12s}  {rung['name']}: {rung['headline']}")
    if "champion" in report:
        click.echo(f"champion: {report['champion'] or 'none yet'}")
