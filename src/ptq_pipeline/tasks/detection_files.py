"""What two detectors found, in COCO's files, becomes one table of outcomes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.inputs import read_regular
from ptq_pipeline.judgement.verdict import SourceFile
from ptq_pipeline.tasks.coco import Annotations, read_annotations, read_detections
from ptq_pipeline.tasks.detection import (
    Matches,
    Matching,
    alarm_outcomes,
    match,
    object_outcomes,
)


def read_found(
    annotations: Path,
    reference: Path,
    quantized: Sequence[Path],
    *,
    matching: Matching,
    cap: int | None = None,
) -> tuple[pd.DataFrame, tuple[SourceFile, ...]]:
    """Match what both detectors found with the annotated objects.

    Args:
        annotations: COCO's annotations.
        reference: Detections of the float model, in COCO's form of results.
        quantized: Those of the quantized model, or of each of its draws.
        matching: Operating threshold and overlap.
        cap: None makes a row an object; a number makes a row an image and class, with at most so
            many false alarms.

    Returns:
        Outcomes as texts, with ``draw`` where there are several quantized models; and the files.

    Raises:
        InputError: A file cannot be used, or the float detector finds nothing at the threshold.
    """
    given = read_annotations(annotations)
    if not len(given.boxes):
        raise InputError(f"'{annotations}' has no annotated objects; nothing can be found")
    first = match(given, read_detections(reference, given), matching)
    if not (first.found & ~given.ignored).any():
        raise InputError(
            f"'{reference}' finds none of {len(given.boxes)} objects at a score of "
            f"{matching.score:g} and an overlap of {matching.iou:g}; choose the threshold at "
            "which the float model works in production (--score), and check that boxes are "
            "[x, y, width, height] in pixels of the annotated images"
        )
    tables = []
    for draw, path in enumerate(quantized):
        found = match(given, read_detections(path, given), matching)
        table = _outcomes(given, first, found, cap)
        tables.append(table.assign(draw=f"{draw:03d}") if len(quantized) > 1 else table)
    texts = pd.concat(tables, ignore_index=True)
    files = tuple(
        SourceFile(name=path.name, sha256=hashlib.sha256(read_regular(path)).hexdigest())
        for path in (annotations, reference, *quantized)
    )
    return texts.astype(str), files


def _outcomes(
    annotations: Annotations, reference: Matches, found: Matches, cap: int | None
) -> pd.DataFrame:
    if cap is None:
        return object_outcomes(annotations, reference, found)
    return alarm_outcomes(annotations, reference, found, cap)
