"""``kedro ptq divergence``: how far a draw's outputs are from the float model's, where it hurts."""

from typing import Any

import click
import numpy as np
import pandas as pd

from ptq_pipeline.commands.running import Answer, project_command
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.project import Project
from ptq_pipeline.statistics.divergence import output_divergence
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.evaluation import shifted_evaluation
from ptq_pipeline.trials.recipe import Recipe

SHOWN_ROWS = 12


@project_command("divergence", epilog="Example: kedro ptq divergence --draw 3")
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
    trials = project.load("trials")
    own = trials[(trials["role"] == "evidence") & (trials["draw"] == draw)]
    if own.empty or own["status"].iloc[0] != "done":
        known = trials.loc[(trials["role"] == "evidence") & (trials["status"] == "done"), "draw"]
        raise InputError(
            f"--draw {draw}: the last audit has no finished trial of it; its draws are "
            f"{', '.join(map(str, sorted(known)))}"
        )
    data = AuditData(project.load("samples"), project.load("images"))
    shifts = project.settings("stress", StressParameters)
    recipe = project.settings("quantization", Recipe)
    model, store = project.load("float_model"), project.load("trial_store")
    runner = Audit(data, model, store, shifts, recipe).runner()
    chosen = project.load("calibration_sets")[own["set_id"].iloc[0]]
    workload = runner.workload
    models = [
        workload.runtime.compile(workload.prepared, parameters)
        for parameters in (None, runner.quantize(chosen.set_id, chosen.images))
    ]
    evaluation = shifted_evaluation(data, shifts, "selection")
    groups = _groups(evaluation.samples, project.load("group_definitions"))
    tables = []
    for shift, pixels in evaluation.arrays.items():
        parts = [
            pixels[start : start + workload.batch_size]
            for start in range(0, len(pixels), workload.batch_size)
        ]
        prepared = [workload.model.preprocessing(np.asarray(part)) for part in parts]
        logits = [np.concatenate([np.array(model(part)) for part in prepared]) for model in models]
        for names in groups:
            tables.append(output_divergence(*logits, names).assign(shift=shift))
    found = pd.concat(tables, ignore_index=True)
    return found.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def _groups(samples: pd.DataFrame, definitions: dict[str, Any]) -> list[np.ndarray]:
    """Return the class of each sample, and its value of each segment."""
    found = [np.asarray(definitions["classes"])[samples["label"].to_numpy()]]
    for column in definitions["segments"]:
        found.append((f"{column}=" + samples[column].astype(str)).to_numpy(dtype=np.str_))
    return found
