"""The commands `kedro ptq ...`: one module per topic, imported when it is called."""

import click

from ptq_pipeline.commands.lazy import LazyGroup

# Name of a command -> where it stands, and its line in `kedro ptq --help`.
COMMANDS: dict[str, tuple[str, str]] = {}


@click.group(name="ptq_pipeline")
def commands() -> None:
    """Kedro merges this group into its own commands; what users see is the group in it."""


@commands.group(
    name="ptq",
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def ptq() -> None:
    """Audit, promote and watch quantized models."""
