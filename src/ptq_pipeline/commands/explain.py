"""`kedro ptq explain` and `divergence`: why a group loses, and how far outputs move."""

from typing import Any

import click
import numpy as np
import pandas as pd

from ptq_pipeline.commands.command import Answer
from ptq_pipeline.commands.project_command import project_command
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.monitoring.explaining import nearest
from ptq_pipeline.pipelines.reporting.worst_group import explain_group, level_of, members
from ptq_pipeline.project import Project
from ptq_pipeline.routines.audits import audit_of
from ptq_pipeline.statistics.distances import output_divergence
from ptq_pipeline.trials.evaluation import shifted_evaluation

SHOWN_ROWS = 12
NEAREST = 5


@project_command(epilog="Example: kedro ptq explain 'class Sandal'")
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
    verdict = project.document("verdict", Verdict)
    group = group or (verdict.worst.group if verdict.worst else None)
    if group is None:
        raise InputError("the last verdict names no worst group; say which GROUP to explain")
    samples = project.load("samples")
    definitions = project.document("group_definitions", GroupDefinitions)
    level, name = level_of(definitions, group)
    member = members(samples, definitions, level, name)
    audit = (samples["split"] == "audit").to_numpy()
    if not (member & audit).any():
        raise InputError(f"group '{name}' has no audit image; nothing can be explained")
    data, model = AuditData(samples, project.load("images")), project.load("float_model")
    table = explain_group(member, data, model, project.load("candidate_model"))
    used = project.load("calibration_sets")[verdict.candidate.set_id]
    calibrated = samples["sample_id"].isin(used.manifest.sample_ids).to_numpy()
    features = project.load("profiles").filter(like="component_").to_numpy(float)
    inside, pool = np.flatnonzero(member & audit), np.flatnonzero(calibrated)
    close = samples["sample_id"].iloc[nearest(features, inside, pool, NEAREST)]
    return {
        "group": name,
        **table.attrs,
        "layers": table.head(layers).to_dict("records"),
        "calibration_images": int(calibrated.sum()),
        "calibration_images_of_group": int((calibrated & member).sum()),
        "nearest_calibration_images": close.tolist(),
    }


@project_command(epilog="Example: kedro ptq divergence --draw 3")
@click.option(
    "--draw",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Which draw of the recipe, counted from 0.",
)
def divergence(project: Project, draw: int) -> Answer:
    """Compare the softmax outputs of one draw with the float model's, by class and segment.

    Trials keep answers, not logits, so the draw is quantized again, with the very integers of its
    trial, and both models see the selection images under every shift.
    """
    table = _divergence(project, draw)
    lines = [
        "Kullback-Leibler divergence, float against quantized, in nats; largest means first",
        *(
            f"  {row.mean:8.4f} on average, {row.largest:7.3f} at most: {row.group} under "
            f"{row.shift} (n={row.n})"
            for row in table.head(SHOWN_ROWS).itertuples(index=False)
        ),
    ]
    return Answer(table.to_dict("records"), lines)


def _divergence(project: Project, draw: int) -> pd.DataFrame:
    trials = project.load("trials").query("role == 'evidence'").set_index("draw")
    finished = trials[trials["status"] == "done"]
    if draw not in finished.index:
        raise InputError(
            f"--draw {draw}: the last audit has no finished trial of it; its draws are "
            f"{', '.join(map(str, sorted(finished.index)))}"
        )
    audit = audit_of(project)
    runner = audit.runner()
    chosen = project.load("calibration_sets")[finished["set_id"][draw]]
    workload = runner.workload
    models = [
        workload.runtime.compile(workload.prepared, parameters)
        for parameters in (None, runner.quantize(chosen.set_id, chosen.images))
    ]
    evaluation = shifted_evaluation(audit.data, audit.shifts, "selection")
    definitions = project.document("group_definitions", GroupDefinitions)
    groups = _groups(evaluation.samples, definitions)
    tables = []
    for shift, pixels in evaluation.arrays.items():
        starts = range(0, len(pixels), workload.batch_size)
        batches = [
            workload.model.preprocessing(np.asarray(pixels[start : start + workload.batch_size]))
            for start in starts
        ]
        plain, quantized = (
            np.concatenate([np.array(run(batch)) for batch in batches]) for run in models
        )
        tables += [output_divergence(plain, quantized, each).assign(shift=shift) for each in groups]
    found = pd.concat(tables, ignore_index=True)
    return found.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def _groups(samples: pd.DataFrame, definitions: GroupDefinitions) -> list[np.ndarray]:
    """Return the class of each sample, and its value of each segment."""
    classes = np.asarray(definitions.classes)[samples["label"].to_numpy()]
    segments = [
        (f"{column}=" + samples[column].astype(str)).to_numpy(dtype=np.str_)
        for column in definitions.segments
    ]
    return [classes, *segments]
