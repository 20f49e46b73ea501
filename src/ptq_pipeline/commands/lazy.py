"""A click group that imports a command's module only when the command is called."""

import importlib
from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from ptq_pipeline.core.interrupts import ending_at_once


class LazyGroup(click.Group):
    """A group whose commands stand in other modules.

    Args:
        commands_by_name: per command, ``package.module:attribute`` and its line in the help text.
        attributes: as `click.Group`.
    """

    def __init__(
        self, *, commands_by_name: Mapping[str, tuple[str, str]], **attributes: Any
    ) -> None:
        super().__init__(**attributes)
        self._places = commands_by_name

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names in the order of their declaration."""
        return [*self._places, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in self._places:
            return super().get_command(ctx, cmd_name)
        module, attribute = self._places[cmd_name][0].split(":")
        with ending_at_once():
            return getattr(importlib.import_module(module), attribute)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete names and options without importing any command."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=line)
            for name, (_, line) in self._places.items()
            if name.startswith(incomplete)
        ]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        rows = [(name, line) for name, (_, line) in self._places.items()]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
