"""`kedro ptq detections`: a verdict on what two detectors found, in COCO's files."""

from pathlib import Path
from typing import Any

import click

from ptq_pipeline.commands.command import Answer, command
from ptq_pipeline.commands.judge import judged_answer, judging_options
from ptq_pipeline.commands.options import FILE
from ptq_pipeline.tasks.detection import Matching
from ptq_pipeline.tasks.detection_files import read_found


@command(
    epilog="Exits with 0 for PASS, 3 for FAIL, 4 for INCONCLUSIVE. Example: kedro ptq detections "
    "instances.json --float float.json --quantized int8.json --limit class=5",
)
@click.argument("annotations", type=FILE)
@click.option(
    "--float", "reference", type=FILE, required=True, help="Detections of the float model."
)
@click.option(
    "--quantized",
    type=FILE,
    required=True,
    multiple=True,
    help="Detections of the quantized model; once for each calibration set, if there are several.",
)
@click.option(
    "--score",
    type=float,
    default=Matching.score,
    show_default=True,
    help="Operating threshold: what scores less does not exist.",
)
@click.option(
    "--iou", type=float, default=Matching.iou, show_default=True, help="Overlap of a match."
)
@click.option(
    "--alarms",
    type=int,
    default=None,
    metavar="CAP",
    help="Judge false alarms of images instead of objects; more than CAP of a class count as CAP.",
)
@judging_options
def detections(
    annotations: Path, reference: Path, quantized: tuple[Path, ...], **options: Any
) -> Answer:
    """Judge whether annotated objects are still found.

    ANNOTATIONS and detections are in COCO's form. A row of the verdict is an annotated object, its
    class the group that is judged, its image the cluster; sizes and columns of images and objects
    make further groups.
    """
    matching = Matching(score=options["score"], iou=options["iou"])
    table, files = read_found(
        annotations, reference, quantized, matching=matching, cap=options["alarms"]
    )
    return judged_answer(table, f"'{annotations}'", files, options)
