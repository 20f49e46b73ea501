"""The ``drift`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.drift.nodes import (
    check_columns,
    compare_with_reference,
    gather_calibration_profiles,
    gather_window_profiles,
)


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            Node(
                check_columns,
                ["profiles", "group_definitions", "params:drift"],
                "drift_columns",
                name="check_drift_columns",
            ),
            Node(
                gather_calibration_profiles,
                [
                    "calibration_sets",
                    "calibration_set_index",
                    "verdict",
                    "profiles",
                    "float_model",
                    "feature_projection",
                ],
                "drift_calibration_profiles",
                name="gather_calibration_profiles",
            ),
            Node(
                gather_window_profiles,
                [
                    *("production_windows", "float_model", "feature_projection"),
                    *("group_definitions", "params:data_loading", "params:drift"),
                ],
                "drift_window_profiles",
                name="gather_window_profiles",
            ),
            Node(
                compare_with_reference,
                [
                    "drift_calibration_profiles",
                    "drift_window_profiles",
                    "profiles",
                    "drift_columns",
                ],
                ["drift_table", "drift_summary", "drift_reports"],
                name="compare_with_reference",
            ),
        ]
    )
