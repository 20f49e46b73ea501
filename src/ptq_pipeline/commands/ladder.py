"""`kedro ptq ladder`: recipes in order until one passes."""

from typing import Any

import click

from ptq_pipeline.commands.project import mount_option, opened
from ptq_pipeline.commands.running import command, env_option, json_option, print_json


@command(
    "ladder",
    epilog="Exits with 0 when a recipe passes, 4 when one is inconclusive, 11 when none passes. "
    "Example: kedro ptq ladder",
)
@env_option
@mount_option
@json_option
def ladder(env: str | None, mount: str | None, as_json: bool) -> int:
    """Audit the recipes of `ladder.recipes` in order until one passes.

    Each is a whole audit of its own. A recipe that is INCONCLUSIVE ends it: more images or draws
    would settle that, another recipe would not. When none passes, the registry records that
    retraining is needed, with the evidence, and what serves meanwhile; nothing moves.
    """
    from ptq_pipeline.commands.laddering import audit_recipes

    with opened(env, mount) as project:
        report = audit_recipes(project, env)
    if as_json:
        print_json(report)
    else:
        _print(report)
    return int(report["exit_code"])


def _print(report: dict[str, Any]) -> None:
    for rung in report["ladder"]:
        click.echo(f"{rung['decision']:12s}  {rung['name']}: {rung['headline']}")
    click.echo(f"{report['action']}: {report['reason']}")
    click.echo(f"champion: {report['champion'] or 'none yet'}")
