"""The ``worst_case_check`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.worst_case_check.nodes import (
    check_names,
    compare,
    judge,
    propose_groups,
)
from ptq_pipeline.pipelines.worst_case_check.plots import tabulate_plots


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            Node(
                check_names,
                [
                    "samples",
                    "group_definitions",
                    "params:worst_case_check",
                    "params:stress",
                    "params:business",
                    "params:subgroup_scoring",
                    "audit_ledger",
                    "profiles",
                ],
                "checked_policy",
                name="check_policy",
            ),
            Node(
                propose_groups,
                ["samples", "profiles", "group_definitions", "checked_policy"],
                "representative_groups",
                name="propose_groups",
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
                    "audit_ledger",
                    "predictions",
                    "float_predictions",
                    "representative_groups",
                    "params:business",
                    "params:subgroup_scoring",
                ],
                ["verdict", "worst_case_table"],
                name="judge",
            ),
            Node(
                tabulate_plots,
                ["worst_case_table", "scores"],
                ["worst_groups", "drop_distribution"],
                name="tabulate_plots",
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
                    "params:subgroup_scoring",
                ],
                ["champion_comparison", "candidate_baseline"],
                name="compare_with_champion",
            ),
        ]
    )
