"""Nodes of ``calibration``."""

import logging
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.cache import ValidationCache
from ptq_pipeline.calibration.draws import draw_valid_sets
from ptq_pipeline.calibration.parameters import CalibrationParameters
from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.calibration.thresholds import (
    CLASS_SHARES,
    Clusters,
    Thresholds,
    batch_table,
    freeze_thresholds,
    unlike_reference,
)
from ptq_pipeline.calibration.validation import SetValidator, judged_hashes, stored_profile
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.models import FloatModel
from ptq_pipeline.profiling.features import Projection, profile
from ptq_pipeline.profiling.segments import with_segments

log = logging.getLogger(__name__)

# Kedro resolves the annotations of nodes to validate parameters, so every name in them is imported.
# None of these modules imports torch or Great Expectations before it needs them.


def freeze_calibration_thresholds(data: AuditData, parameters: CalibrationParameters) -> Thresholds:
    """Simulate random sets of the reference and freeze the thresholds of the validation.

    What the whole pool differs in is said once, before sets are drawn and trials run.
    """
    reference, pool = (
        data.profiles[data.profiles["split"] == split] for split in ("reference", "pool")
    )
    clusters = Clusters.of(data.samples, reference)
    frozen = freeze_thresholds(reference, data.definitions, parameters, clusters)
    if CLASS_SHARES not in frozen.reference.categories:
        log.warning(
            "the reference has %d images for %d classes, too few to compare shares of classes: "
            "calibration sets are validated by the other columns alone",
            *(len(reference), len(data.definitions.classes)),
        )
    table = batch_table(pool, data.definitions, frozen.features)
    unlike = unlike_reference(table, frozen.of_size(parameters.set_size), frozen.reference)
    if unlike:
        log.warning(
            "the pool is unlike the reference, so most calibration sets drawn from it will be "
            "rejected: %s; draw the pool and the reference from the same images, or set other "
            "'splits' of the image source",
            ", ".join(
                f"{name} is {ratio:.2g} times what is allowed" for name, ratio in unlike.items()
            ),
        )
    return frozen


def draw_calibration_sets(
    data: AuditData,
    model: FloatModel,
    projection: dict[str, Any],
    thresholds: Thresholds,
    cache: ValidationCache,
    parameters: CalibrationParameters,
) -> tuple[dict[str, CalibrationSet], pd.DataFrame, pd.DataFrame]:
    """Draw the recipe's and the comparison sets and validate each against the reference.

    Returns:
        The sets by id, ``calibration_set_index`` and ``calibration_validation``.
    """

    def profile_pixels(pixels: np.ndarray) -> pd.DataFrame:
        features = profile(pixels, model, Projection.from_json(projection))
        return with_segments(features, features, data.definitions)

    validator = SetValidator(
        thresholds,
        parameters.set_size,
        data.definitions,
        judged_hashes(data.samples),
        stored_profile(data.profiles, profile_pixels),
        cache,
    )
    pool = Pool.from_samples(data.samples, data.definitions, profiles=data.profiles)
    drawn = draw_valid_sets(pool, data.images, parameters, validator)
    validator.finish(parameters.data_docs)
    return drawn.sets, drawn.index(), drawn.validation()
