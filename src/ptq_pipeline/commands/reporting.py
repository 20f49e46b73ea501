"""`kedro ptq report`, `card` and `explain`: what people read."""

import json
import typing
from pathlib import Path
from typing import Any

import click
import numpy as np

from ptq_pipeline.commands.running import Answer, project_command, tell
from ptq_pipeline.errors import InputError
from ptq_pipeline.files import write_file
from ptq_pipeline.monitoring.explaining import nearest
from ptq_pipeline.pipelines.reporting import nodes
from ptq_pipeline.pipelines.reporting.members import level_of, members
from ptq_pipeline.pipelines.reporting.pipeline import REPORT_INPUTS
from ptq_pipeline.pipelines.reporting.worst_group import explain_group
from ptq_pipeline.project import Project
from ptq_pipeline.reporting.card import model_card

language_option = click.option(
    "--language", default=None, help="en or ja; as configured by default."
)
output_option = click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file."
)


@project_command(
    "report",
    json_option=False,
    epilog="Example: kedro ptq report --language ja -o report_ja.html",
)
@language_option
@output_option
def report(project: Project, language: str | None, output: Path | None) -> None:
    """Write the report of the last audit again, from its tables; nothing is computed anew."""
    values = {key: _value(project, key, name, language) for key, name in REPORT_INPUTS.items()}
    html = nodes.write_report(**values)
    if output is None:
        project.save("report", html)
        tell(values["parameters"].report_path)
    else:
        _write(output, html)


def _value(project: Project, argument: str, name: str, language: str | None) -> Any:
    if not name.startswith("params:"):
        return project.load(name)
    group = name.removeprefix("params:")
    found = project.settings(group, typing.get_type_hints(nodes.write_report)[argument])
    if argument == "parameters" and language is not None:
        values = found.model_dump(mode="json") | {"language": language}
        return type(found).model_validate(values)
    return found


@project_command("card", json_option=False, epilog="Example: kedro ptq card v0002 -o MODEL_CARD.md")
@click.argument("version", required=False)
@language_option
@output_option
def card(project: Project, version: str | None, language: str | None, output: Path | None) -> None:
    """Write the model card of a promoted version: which groups lose how much.

    Without VERSION that of the champion.
    """
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
    text = model_card(promotions[chosen].to_json(), verdict, spoken)
    if output is None:
        tell(text)
    else:
        _write(output, text)


@project_command("explain", epilog="Example: kedro ptq explain 'class Sandal'")
@click.argument("group", required=False)
@click.option("--layers", default=8, show_default=True, help="Layers to list.")
def explain(project: Project, group: str | None, layers: int) -> Answer:
    """Say why GROUP loses: what is cut off, where the error arises, who calibrated it.

    GROUP is a class (Sandal), a segment (tone=dark), or both (Sandal & tone=dark); without it the
    worst group of the last verdict. Runs the candidate on up to 200 of its clean audit images and
    on as many of all.
    """
    found = _explained(project, group, layers)
    lines = [
        f"{found['group']}: {found['images']} audit images, against {found['others']} of all",
        f"{'layer':32s} {'error':>8s} {'of all':>8s} {'cut off':>8s} {'of all':>8s}",
    ]
    for row in found["layers"]:
        shares = (row["error_group"], row["error_all"], row["clip_group"], row["clip_all"])
        lines.append(f"{row['layer'][:32]:32s} " + " ".join(f"{100 * s:7.2f}%" for s in shares))
    lines.append(
        f"{found['calibration_images_of_group']} of {found['calibration_images']} calibration "
        "images belong to the group; nearest to it: "
        + ", ".join(map(str, found["nearest_calibration_images"]))
    )
    return Answer(found, lines)


def _explained(project: Project, group: str | None, layers: int) -> dict[str, Any]:
    verdict, samples = project.load("verdict"), project.load("samples")
    definitions = project.load("group_definitions")
    level, name = level_of(definitions, group or str((verdict.get("worst") or {}).get("group")))
    member = members(samples, definitions, level, name)
    audit = (samples["split"] == "audit").to_numpy()
    if not (member & audit).any():
        raise InputError(f"group '{name}' has no audit image; nothing can be explained")
    images, model = project.load("images"), project.load("float_model")
    table = explain_group(member, samples, images, model, project.load("candidate_model"))
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
    write_file(path, text.encode())
    tell(str(path))
