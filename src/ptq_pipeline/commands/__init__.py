"""The commands `kedro ptq ...`: one module per topic, imported when it is called."""

import click

from ptq_pipeline.commands.lazy import LazyGroup

# Name of a command -> where it stands, and its line in `kedro ptq --help`.
_REGISTRY = "ptq_pipeline.commands.registry"
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("ptq_pipeline.commands.init:init", "Mount the audit in this project."),
    "doctor": ("ptq_pipeline.commands.doctor:doctor", "Check everything that an audit needs."),
    "gate": (f"{_REGISTRY}:gate", "Say by exit code whether the candidate may ship."),
    "promote": (f"{_REGISTRY}:promote", "Make the candidate the champion."),
    "rollback": (f"{_REGISTRY}:rollback", "Make an earlier version the champion again."),
    "history": (f"{_REGISTRY}:history", "List every record of the registry."),
    "status": (
        "ptq_pipeline.commands.status:status",
        "Say what serves and what waits for somebody.",
    ),
    "verify": (
        "ptq_pipeline.commands.verifying:verify",
        "Recompute every hash of the registry, or compare two audits.",
    ),
    "repair": (f"{_REGISTRY}:repair", "Finish what was interrupted; write again what differs."),
    "waive": (f"{_REGISTRY}:waive", "Record that a rule may be broken until a day."),
    "calibration": (
        "ptq_pipeline.commands.calibration:calibration",
        "Show the images of a calibration set, compare two, search for a better one.",
    ),
    "report": ("ptq_pipeline.commands.reporting:report", "Write the report again, in en or ja."),
    "card": ("ptq_pipeline.commands.reporting:card", "Write the model card of a version."),
    "explain": ("ptq_pipeline.commands.explain:explain", "Say why a group loses."),
    "divergence": (
        "ptq_pipeline.commands.divergence:divergence",
        "Compare a draw's outputs with the float model's.",
    ),
    "watch": ("ptq_pipeline.commands.watch:watch", "Act when production has drifted."),
    "ladder": ("ptq_pipeline.commands.ladder:ladder", "Audit recipes until one passes."),
    "stages": (
        "ptq_pipeline.commands.stages:stages",
        "Look quickly, then closer; stop at the first refusal.",
    ),
    "plan": (
        "ptq_pipeline.commands.plan:plan",
        "Say what an audit takes and what it can prove, before it runs.",
    ),
    "methods": (
        "ptq_pipeline.commands.methods:methods",
        "List quantization methods with paper, bits and options.",
    ),
}


@click.group(name="ptq_pipeline")
def commands() -> None:
    """Kedro merges this group into its own commands; what users see is the group in it."""


@commands.group(
    name="ptq",
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: kedro ptq doctor. Each command has its own --help. Exit codes: 0 done or "
    "pass, 1 error, 2 wrong usage, 3 refused, 4 inconclusive, 5 verification failed, "
    "6 busy, 10 requantization advised, 11 no candidate passed, 12 window set aside, "
    "130 interrupted.",
)
def ptq() -> None:
    """Audit, promote and watch quantized models."""
