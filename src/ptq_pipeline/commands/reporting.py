"""`kedro ptq report`, `card` and `explain`: what people read."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from ptq_pipeline.commands.project import Mount, mount_option, opened
from ptq_pipeline.commands.running import command, env_option, json_option, print_json
from ptq_pipeline.errors import InputError

language_option = click.option(
    "--language", default=None, help="en or ja; as configured by default."
)
output_option = click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file."
)


@command("report", epilog="Example: kedro ptq report --language ja -o report_ja.html")
@env_option
@mount_option
@language_option
@output_option
def report(env: str | None, mount: str | None, language: str | None, output: Path | None) -> None:
    """Write the report of the last audit again, from its tables; nothing is computed anew."""
    from ptq_pipeline.pipelines.reporting.nodes import write_report
    from ptq_pipeline.pipelines.reporting.pipeline import REPORT_INPUTS

    with opened(env, mount) as project:
        values = {key: _value(project, key, name, language) for key, name in REPORT_INPUTS.items()}
        html = write_report(**values)
        if output is None:
            name = f"{project.name}.report" if project.name else "report"
            project.catalog.save(name, html)
            click.echo(values["parameters"].report_path)
        else:
            _write(output, html)


def _value(project: Mount, argument: str, name: str, language: str | None) -> Any:
    import typing

    from ptq_pipeline.pipelines.reporting import nodes

    if not name.startswith("params:"):
        return project.load(name)
    values = project.group(name.removeprefix("params:"))
    if argument == "parameters" and language is not None:
        values |= {"language": language}
    return typing.get_type_hints(nodes.write_report)[argument].model_validate(values)


@command("card", epilog="Example: kedro ptq card v0002 -o MODEL_CARD.md")
@click.argument("version", required=False)
@env_option
@mount_option
@language_option
@output_option
def card(
    version: str | None,
    env: str | None,
    mount: str | None,
    language: str | None,
    output: Path | None,
) -> None:
    """Write the model card of a promoted version: which groups lose how much.

    Without VERSION that of the champion.
    """
    import json

    from ptq_pipeline.reliability import Verdict
    from ptq_pipeline.reporting.card import model_card

    with opened(env, mount) as project:
        registry = project.load("registry")
        promotions = registry.promotions(registry.log.read())
        champion = registry.champion()
        chosen = version or (champion.version if champion else None)
        if chosen not in promotions:
            known = ", ".join(promotions) or "none yet"
            raise InputError(
                f"there is no card of {chosen or 'the champion'}: the promoted versions are {known}"
            )
        verdict = json.loads((registry.folder(chosen) / "verdict.json").read_text("utf-8"))
        spoken = language or project.group("reporting").get("language", "en")
        text = model_card(promotions[chosen].to_json(), Verdict.read(verdict), spoken)
    if output is None:
        click.echo(text)
    else:
        _write(output, text)


@command("explain", epilog="Example: kedro ptq explain 'class Sandal'")
@click.argument("group", required=False)
@env_option
@mount_option
@click.option("--layers", default=8, show_default=True, help="Layers to list.")
@json_option
def explain(
    group: str | None, env: str | None, mount: str | None, layers: int, as_json: bool
) -> None:
    """Say why GROUP loses: what is cut off, where the error arises, who calibrated it.

    GROUP is a class (Sandal), a segment (tone=dark), or both (Sandal & tone=dark); without it the
    worst group of the last verdict. Runs the candidate on up to 200 of its clean audit images and
    on as many of all.
    """
    with opened(env, mount) as project:
        found = _explained(project, group, layers)
    if as_json:
        print_json(found)
        return
    click.echo(
        f"{found['group']}: {found['images']} audit images, against {found['others']} of all"
    )
    click.echo(f"{'layer':32s} {'error':>8s} {'of all':>8s} {'cut off':>8s} {'of all':>8s}")
    for row in found["layers"]:
        shares = (row["error_group"], row["error_all"], row["clip_group"], row["clip_all"])
        click.echo(f"{row['layer'][:32]:32s} " + " ".join(f"{100 * s:7.2f}%" for s in shares))
    click.echo(
        f"{found['calibration_images_of_group']} of {found['calibration_images']} calibration "
        "images belong to the group; nearest to it: "
        + ", ".join(map(str, found["nearest_calibration_images"]))
    )


def _explained(project: Mount, group: str | None, layers: int) -> dict[str, Any]:
    from ptq_pipeline.monitoring.explaining import nearest
    from ptq_pipeline.monitoring.served import PARAMETERS
    from ptq_pipeline.pipelines.reporting.members import level_of, members
    from ptq_pipeline.pipelines.reporting.worst_group import explain_group

    verdict, samples = project.load("verdict"), project.load("samples")
    definitions = project.load("group_definitions")
    level, name = level_of(definitions, group or str((verdict.get("worst") or {}).get("group")))
    member = members(samples, definitions, level, name)
    audit = (samples["split"] == "audit").to_numpy()
    if not (member & audit).any():
        raise InputError(f"group '{name}' has no audit image; nothing can be explained")
    candidate = project.load("candidate_model")
    if PARAMETERS not in candidate:
        raise InputError(
            f"the candidate holds no '{PARAMETERS}': files of another tool cannot be looked into"
        )
    table = explain_group(
        member, samples, project.load("images"), project.load("float_model"), candidate
    )
    used = project.load("calibration_sets")[verdict["candidate"]["set_id"]]
    calibrated = samples["sample_id"].isin(used.manifest.sample_ids).to_numpy()
    profiles = project.load("profiles")
    features = profiles.filter(like="component_").to_numpy(float)
    return {
        "group": name,
        **table.attrs,
        "layers": table.head(layers).to_dict("records"),
        "calibration_images": int(calibrated.sum()),
        "calibration_images_of_group": int((calibrated & member).sum()),
        "nearest_calibration_images": [
            int(samples["sample_id"].iloc[row])
            for row in nearest(
                features, np.flatnonzero(member & audit), np.flatnonzero(calibrated), 5
            )
        ],
    }


def _write(path: Path, text: str) -> None:
    from ptq_pipeline.files import write_file

    write_file(path, text.encode())
    click.echo(path)
