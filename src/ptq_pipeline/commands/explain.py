"""`kedro ptq explain`: why a group loses."""

from typing import Any

import click
import numpy as np

from ptq_pipeline.commands.running import Answer, project_command
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.monitoring.explaining import nearest
from ptq_pipeline.pipelines.reporting.members import level_of, members
from ptq_pipeline.pipelines.reporting.worst_group import explain_group
from ptq_pipeline.project import Project


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
    verdict = Verdict.read(project.load("verdict"))
    if not group and verdict.worst is None:
        raise InputError("the last verdict names no worst group; say which GROUP to explain")
    samples, definitions = project.load("samples"), project.load("group_definitions")
    level, name = level_of(definitions, group or verdict.worst.group)
    member = members(samples, definitions, level, name)
    audit = (samples["split"] == "audit").to_numpy()
    if not (member & audit).any():
        raise InputError(f"group '{name}' has no audit image; nothing can be explained")
    images, model = project.load("images"), project.load("float_model")
    table = explain_group(member, samples, images, model, project.load("candidate_model"))
    used = project.load("calibration_sets")[verdict.candidate.set_id]
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
