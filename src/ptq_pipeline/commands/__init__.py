"""The commands `kedro ptq ...`: one module per topic, imported when it is called."""

import importlib
from typing import Any

import click
from click.shell_completion import CompletionItem

from ptq_pipeline.core.errors import did_you_mean
from ptq_pipeline.core.exits import ending_at_once

# Name of a command -> its module, and its line in `kedro ptq --help`.
COMMANDS: dict[str, tuple[str, str]] = {
    "judge": ("judge", "Judge a table of outcomes, whoever made them."),
    "audit": ("audit", "Audit weights and a folder of images, without editing a file."),
    "open": ("opening", "Open the last report."),
    "detections": ("detections", "Judge whether a quantized detector still finds its objects."),
    "compare": ("compare", "Run two model files on the same images and judge their answers."),
    "answers": ("compare", "Write what a model file answers on this machine."),
    "init": ("init", "Mount the audit in this project."),
    "doctor": ("doctor", "Check everything that an audit needs."),
    "gate": ("registry", "Say by exit code whether the candidate may ship."),
    "promote": ("registry", "Make the candidate the champion."),
    "rollback": ("registry", "Make an earlier version the champion again."),
    "history": ("status", "List every record of the registry."),
    "status": ("status", "Say what serves and what waits for somebody."),
    "verify": ("verify", "Recompute every hash of the registry, or compare two audits."),
    "mlflow": ("tracking", "Send the last audit and the registry to MLflow, once more."),
    "recover": ("registry", "Finish what was interrupted; write again what differs."),
    "waive": ("registry", "Record that a rule may be broken until a day."),
    "withdraw": ("registry", "End a waiver before its day."),
    "calibration": (
        "calibration",
        "Show the images of a calibration set, compare two, search for a better one.",
    ),
    "report": ("report", "Write the report again, in en or ja."),
    "compare-audits": ("side_by_side", "Write two audits side by side as a page."),
    "card": ("report", "Write the model card of a version."),
    "policy": ("policy", "Fix limits and error rates before outcomes."),
    "evidence": ("archive", "Write one archive with hashes for a reviewer outside."),
    "explain": ("explain", "Say why a group loses."),
    "divergence": ("explain", "Compare a draw's outputs with the float model's."),
    "watch": ("watch", "Act when production has drifted."),
    "ladder": ("watch", "Audit recipes until one passes."),
    "stages": ("stages", "Look quickly, then closer; stop at the first refusal."),
    "repair": ("repair", "Search for the recipe whose worst group is best, and audit it."),
    "plan": ("plan", "Say what an audit takes and what it can prove, before it runs."),
    "store": ("store", "Measure the trial store; remove what nothing refers to."),
    "methods": ("methods", "List quantization methods with paper, bits and options."),
}
# How the help groups them; those that no section names come last.
SECTIONS = {
    "To begin": ("init", "doctor", "plan", "methods"),
    "Audit": (
        *("audit", "judge", "compare", "answers", "detections"),
        *("stages", "repair", "ladder", "open", "report", "compare-audits"),
        *("explain", "divergence", "calibration", "store"),
    ),
    "Decide and release": (
        *("policy", "gate", "waive", "withdraw", "promote", "rollback"),
        *("status", "history", "card", "evidence", "verify", "mlflow", "recover"),
    ),
    "In production": ("watch",),
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is called; see `COMMANDS`."""

    def __init__(self, *, places: dict[str, tuple[str, str]], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names in the order of their declaration."""
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in self._places:
            return None
        with ending_at_once():
            module = importlib.import_module(f"{__name__}.{self._places[cmd_name][0]}")
        return getattr(module, cmd_name.replace("-", "_"))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a misspelt one is an error that names the nearest."""
        name = args[0]
        if name not in self._places and not name.startswith("-"):
            meant = did_you_mean(name, self._places, "the help lists them")
            ctx.fail(f"No such command '{name}'; {meant}")
        return super().resolve_command(ctx, args)

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
        """List the commands by what they are for, without importing any."""
        left = dict(self._places)
        for title, names in SECTIONS.items():
            if shown := [(name, left.pop(name)[1]) for name in names if name in left]:
                with formatter.section(title):
                    formatter.write_dl(shown)
        if left:
            with formatter.section("Commands"):
                formatter.write_dl([(name, line) for name, (_, line) in left.items()])


@click.group(name="ptq_pipeline")
def commands() -> None:
    """Kedro merges this group into its own commands; what users see is the group in it."""


@commands.group(
    name="ptq",
    cls=LazyGroup,
    places=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: kedro ptq doctor. Each command has its own --help. Exit codes: 0 done or "
    "pass, 1 error, 2 wrong usage, 3 refused, 4 inconclusive, 5 verification failed, "
    "6 busy, 10 requantization advised, 11 no candidate passed, 12 window set aside, "
    "130 interrupted, 143 stopped by SIGTERM.",
)
def ptq() -> None:
    """Audit, promote and watch quantized models."""
