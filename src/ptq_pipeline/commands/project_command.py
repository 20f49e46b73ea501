"""What a command on a Kedro project is. Importing this imports Kedro's session."""

import functools
from collections.abc import Callable
from typing import Any

import click

from ptq_pipeline.commands.command import Answer, Function, command
from ptq_pipeline.project import opened, project_path


def project_command(**attributes: Any) -> Callable[[Function], click.Command]:
    """Declare a command on a project: `command` with ``--env`` and ``--mount``.

    The function takes the `Project` first, which is open while it runs.
    """

    def declare(function: Function) -> click.Command:
        @functools.wraps(function)
        def run(*, env: str | None, mount: str | None, **kwargs: Any) -> Answer | None:
            with opened(env, mount) as project:
                return function(project, **kwargs)

        return command(**attributes)(env_option(mount_option(run)))

    return declare


def env_option(function: Function) -> Function:
    """Let a command take ``--env``."""
    text = "Configuration environment."
    return click.option("--env", "-e", help=text, shell_complete=_environments)(function)


def mount_option(function: Function) -> Function:
    """Let a command take ``--mount``."""
    text = "Namespace that the pipelines are in."
    return click.option("--mount", help=text, shell_complete=_mounts)(function)


def _environments(context: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    """The folders of conf/, for the shell."""
    found = sorted(path.name for path in project_path().glob("conf/*") if path.is_dir())
    return [name for name in found if name.startswith(incomplete)]


def _mounts(context: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    """Names of the shims that `kedro ptq init` wrote, for the shell."""
    shims = project_path().glob("src/*/pipelines/*/__init__.py")
    names = sorted(p.parent.name for p in shims if "ptq_pipeline.mounting" in p.read_text("utf-8"))
    return [name for name in names if name.startswith(incomplete)]
