"""A detector looked at beside its verdict: average precision, sizes and other thresholds."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.units import NO_CLASS
from ptq_pipeline.images.annotated import SIZE
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.models import FloatModel
from ptq_pipeline.reporting.detector_figures import (
    ClassFigures,
    DetectorFigures,
    SizeFigures,
    ThresholdFigures,
)
from ptq_pipeline.tasks.average_precision import average_precision
from ptq_pipeline.tasks.coco import Detections
from ptq_pipeline.tasks.detector import Batch, Detection, joined
from ptq_pipeline.tasks.two_detectors import TwoDetectors


def describe_detector(
    verdict: Verdict,
    data: AuditData,
    model: FloatModel,
    candidate: Mapping[str, Path],
) -> DetectorFigures:
    """Describe the float detector and the candidate on clean images; nothing is judged by it.

    There are no figures of a classifier, and without a candidate.
    """
    task, trial_id = model.task, verdict.candidate.trial_id
    if not isinstance(task, Detection) or trial_id is None or not candidate:
        return DetectorFigures(trial_id=trial_id)
    audit, selection = (_both(data, model, candidate, split) for split in ("audit", "selection"))
    limit = verdict.policy.limit("class", "", CLEAN)
    thresholds = selection.thresholds()
    there = _other_threshold(thresholds, limit)
    names = dict(enumerate(task.classes))
    return DetectorFigures(
        trial_id=trial_id,
        score=task.matching.score,
        limit=limit,
        images=len(audit.annotations.images),
        selection=len(selection.annotations.images),
        classes=_classes(audit, there),
        sizes=_sizes(audit, task.units(data.of("audit")), names),
        thresholds=tuple(
            ThresholdFigures(**{**row, "worst_class": names[row["worst_class"]]})
            for row in thresholds.to_dict("records")
        ),
        there=there,
    )


def _both(
    data: AuditData, model: FloatModel, candidate: Mapping[str, Path], split: str
) -> TwoDetectors:
    """Run both on the clean images of a split: the float model in torch, the candidate's file."""
    from ptq_pipeline.artifact.loading import Artifact
    from ptq_pipeline.models.inference import in_torch
    from ptq_pipeline.runtimes import read_outputs

    task, samples = model.task, data.of(split)
    assert isinstance(task, Detection)

    def read(output: np.ndarray, _: np.ndarray) -> Batch:
        return Batch(task.decoder(output), len(output))

    def detections(predictor: Any) -> Detections:
        rows = samples["sample_id"].to_numpy()
        return joined(read_outputs(predictor, data.images, model.preprocessing, read, rows=rows))

    served = Artifact(candidate, "the candidate").predictor(model, data.image_shape)
    return TwoDetectors(
        task.truth(samples), detections(in_torch(model)), detections(served), task.matching
    )


def _other_threshold(thresholds: pd.DataFrame, limit: float) -> float:
    kept = thresholds[thresholds["worst_drop"] <= limit]
    if len(kept):
        return float(kept["score"].max())
    return float(thresholds["score"].iloc[thresholds["worst_drop"].argmin()])


def _classes(audit: TwoDetectors, there: float) -> tuple[ClassFigures, ...]:
    table = audit.by_class().join(audit.by_class(there)[["recall", "alarms"]], rsuffix="_there")
    if find_spec("pycocotools") is not None:
        for prefix, found in (("float_", audit.reference), ("", audit.quantized)):
            own = average_precision(audit.annotations, found)
            table[[f"{prefix}ap50", f"{prefix}ap"]] = own[["ap50", "ap"]].to_numpy()
    table.insert(0, "name", audit.annotations.categories)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return tuple(ClassFigures(**row) for row in rows)


def _sizes(
    audit: TwoDetectors, units: pd.DataFrame, names: Mapping[int, str]
) -> tuple[SizeFigures, ...]:
    if SIZE not in units:
        return ()
    objects = units[units["label"] != NO_CLASS].reset_index(drop=True).join(audit.found())
    # Sizes in the order in which the pool named them are not known here; small ones are found less.
    table = objects.groupby(["label", SIZE], sort=True).agg(
        n=("ok", "size"), float_recall=("float_ok", "mean"), recall=("ok", "mean")
    )
    return tuple(
        SizeFigures(name=names[label], size=str(size), **row)
        for (label, size), row in zip(table.index, table.to_dict("records"), strict=True)
    )
