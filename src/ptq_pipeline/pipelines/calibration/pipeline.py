"""The ``calibration`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.core.names import RUNS_CODE_OF_OTHERS
from ptq_pipeline.pipelines.calibration.nodes import (
    draw_calibration_sets,
    freeze_calibration_thresholds,
)
from ptq_pipeline.pipelines.nouns import AUDIT_DATA


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            AUDIT_DATA,
            Node(
                freeze_calibration_thresholds,
                ["audit_data", "params:calibration"],
                "calibration_thresholds",
                name="freeze_calibration_thresholds",
            ),
            Node(
                draw_calibration_sets,
                [
                    *("audit_data", "float_model", "feature_projection"),
                    *("calibration_thresholds", "calibration_validation_cache"),
                    "params:calibration",
                ],
                ["calibration_sets", "calibration_set_index", "calibration_validation"],
                name="draw_calibration_sets",
                tags=RUNS_CODE_OF_OTHERS,
            ),
        ]
    )
