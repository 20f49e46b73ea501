"""The ``worst_case_check`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.worst_case_check.nodes import check_names, compare, judge


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            Node(
                check_names,
                ["samples", "group_definitions", "params:worst_case_check", "params:stress"],
                "checked_policy",
                name="check_policy",
            ),
            Node(
                judge,
                [
                    "scores",
                    "trials",
                    "calibration_set_index",
                    "samples",
                    "group_definitions",
                    "checked_policy",
                ],
                ["verdict", "worst_case_table"],
                name="judge",
            ),
            Node(
                compare,
                [
                    "verdict",
                    "predictions",
                    "samples",
                    "group_definitions",
                    "champion_baseline",
                    "checked_policy",
                    "params:stress",
                ],
                ["champion_comparison", "candidate_baseline"],
                name="compare_with_champion",
            ),
        ]
    )
