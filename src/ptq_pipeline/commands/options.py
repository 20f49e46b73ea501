"""Options and kinds of values that several commands take."""

from pathlib import Path
from typing import Any

import click

FILE = click.Path(dir_okay=False, path_type=Path)
language_option = click.option(
    "--language", default=None, help="en or ja; as configured by default."
)


def output_option(default: str | None = None) -> Any:
    """Where a command writes its file."""
    return click.option(
        *("--output", "-o"),
        type=FILE,
        default=None if default is None else Path(default),
        show_default=default is not None,
        help="Write to this file.",
    )


class Numbers(click.ParamType):
    """Numbers with commas between."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Take them apart."""
        try:
            return tuple(float(each) for each in str(value).split(","))
        except ValueError:
            self.fail(f"'{value}' is not like 0.485,0.456,0.406", param, ctx)
