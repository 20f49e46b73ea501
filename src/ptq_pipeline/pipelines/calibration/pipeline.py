"""The ``calibration`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.calibration.nodes import (
    draw_calibration_sets,
    freeze_calibration_thresholds,
)


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            Node(
                freeze_calibration_thresholds,
                ["profiles", "group_definitions", "params:calibration"],
                "calibration_thresholds",
                name="freeze_calibration_thresholds",
            ),
            Node(
                draw_calibration_sets,
                [
                    "samples",
                    "images",
                    "profiles",
                    "group_definitions",
                    "float_model",
                    "feature_projection",
                    "calibration_thresholds",
                    "calibration_validation_cache",
                    "params:calibration",
                ],
                ["calibration_sets", "calibration_set_index", "calibration_validation"],
                name="draw_calibration_sets",
            ),
        ]
    )
