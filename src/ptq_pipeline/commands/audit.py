"""``kedro ptq audit``: from weights and images to a verdict, without editing a file."""

import os
from pathlib import Path
from typing import Any

import click
import yaml

from ptq_pipeline.project_template import LOGGING_FILE

# Kedro reads it when it is imported, and outside a project announces its own on stdout.
os.environ.setdefault("KEDRO_LOGGING_CONFIG", str(LOGGING_FILE))

from ptq_pipeline.commands.command import Answer, command, tell  # noqa: E402
from ptq_pipeline.commands.init import mount_files  # noqa: E402
from ptq_pipeline.commands.judge import PointsOf  # noqa: E402
from ptq_pipeline.commands.options import FILE, Numbers  # noqa: E402
from ptq_pipeline.core.errors import InputError  # noqa: E402
from ptq_pipeline.core.exits import ExitCode  # noqa: E402
from ptq_pipeline.judgement.decision import Outcome  # noqa: E402
from ptq_pipeline.project_template.standalone import MOUNT, PACKAGE  # noqa: E402
from ptq_pipeline.reporting.summary import three_lines  # noqa: E402
from ptq_pipeline.routines import own_audit  # noqa: E402

EXITS = {
    Outcome.PROMOTE: ExitCode.DONE,
    Outcome.REFUSE: ExitCode.REFUSED,
    Outcome.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
}
BITS = click.IntRange(2, 8)


class Argument(click.ParamType):
    """``NAME=VALUE``, the value as in YAML."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """Take it apart."""
        name, equals, text = str(value).partition("=")
        if not (name.isidentifier() and equals):
            self.fail(f"'{value}' is not like num_classes=10", param, ctx)
        return name, yaml.safe_load(text)


@command(
    epilog="Exits with 0 when the model may ship, 3 when it is refused, 4 when nothing is shown. "
    "Example: kedro ptq audit --weights m.pt --factory torchvision.models.resnet18 --images "
    "photos --bits 8"
)
@click.option("--weights", type=FILE, help="State dict: .safetensors, or torch's.")
@click.option("--factory", help="Dotted path of what builds the network; it is code that runs.")
@click.option(
    "--argument", "arguments", multiple=True, type=Argument(), help="Of the factory; repeatable."
)
@click.option("--onnx", type=FILE, help="ONNX file, in the place of weights and factory.")
@click.option(
    "--images",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder with a folder for each class, or a CSV or parquet manifest; none that trained "
    "the model.",
)
@click.option("--bits", type=BITS, default=8, show_default=True, help="Of the weights.")
@click.option("--activation-bits", type=BITS, default=8, show_default=True)
@click.option("--draws", type=click.IntRange(2), help="Calibration draws; 50, and 30 can pass.")
@click.option(
    "--limit", "limits", multiple=True, type=PointsOf(), help="Largest drop, e.g. class=3."
)
@click.option("--classes", help="Names of the outputs in order, by comma; the sorted labels.")
@click.option("--size", type=click.IntRange(1), help="Side of the images in pixels.")
@click.option("--resize", type=click.IntRange(1), help="Shorter side before the crop.")
@click.option("--mean", type=Numbers(), help="By channel, of pixels in [0, 1].")
@click.option("--std", type=Numbers(), help="By channel.")
@click.option("--grey", is_flag=True, help="The network takes one channel.")
@click.option(
    *("--out", "-o"),
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("audited"),
    show_default=True,
    help="Folder of its own: a Kedro project.",
)
@click.option("--keep", is_flag=True, help="Keep images, trials and tables, not only the results.")
@click.option(
    "--language", type=click.Choice(("en", "ja")), default="en", help="Of report and lines."
)
def audit(**options: Any) -> Answer:
    """Audit a float model: quantize it with many calibration sets, and judge what is lost where.

    The same chain as `kedro run`, in a folder of its own. Interrupted, the same call goes on.
    """
    brought, settings = _brought(options), _settings(options)
    wanted = own_audit.wanted_audit(brought)
    for line in wanted.said:
        tell(line)
    root, settings["calibration.set_size"] = options["out"], wanted.calibration_images
    mounted = mount_files(Path("src") / PACKAGE, MOUNT)
    new = own_audit.write_project(root, own_audit.project_files(wanted, mounted, settings))
    verdict, decision, report = own_audit.run_audit(root)
    if new and not options["keep"]:
        own_audit.forget_data(root)
    lines = three_lines(verdict, decision, root / report, options["language"])
    kept = " --mount ".join(("kedro ptq explain", MOUNT)) if options["keep"] else ""
    notes = [f"Go on in '{root}', a Kedro project: {kept}"] if kept else []
    return Answer(verdict.to_json(), lines, notes, EXITS[decision.outcome])


def _brought(options: dict[str, Any]) -> own_audit.Brought:
    if (options["onnx"] is None) == (options["weights"] is None):
        raise InputError("give --weights and --factory, or --onnx: one model is audited")
    if options["onnx"] is None and not options["factory"]:
        raise InputError(
            "--weights holds numbers only; name what builds the network, like --factory "
            "torchvision.models.resnet18"
        )
    if options["onnx"] is not None and (options["factory"] or options["arguments"]):
        raise InputError("--onnx holds its network: leave --factory and --argument out")
    if not options["images"].exists():
        raise InputError(f"--images: '{options['images']}' does not exist; check the path")
    names = options["classes"]
    return own_audit.Brought(
        images=options["images"],
        weights=options["weights"] or options["onnx"],
        factory=options["factory"],
        arguments=dict(options["arguments"]),
        classes=tuple(name.strip() for name in names.split(",")) if names else None,
        **{name: options[name] for name in ("size", "resize", "mean", "std", "grey")},
    )


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    found = own_audit.settings_of(
        options["bits"], options["activation_bits"], options["draws"], dict(options["limits"])
    )
    model = options["onnx"] or options["weights"]
    return {
        **found,
        "reporting.model_name": model.stem,
        "reporting.data_name": options["images"].stem,
        "reporting.language": options["language"],
    }
