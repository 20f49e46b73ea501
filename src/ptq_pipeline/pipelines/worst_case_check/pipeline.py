"""The ``worst_case_check`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.subgroup_scoring.pipeline import groups_node
from ptq_pipeline.pipelines.worst_case_check.nodes import (
    check_business,
    check_names,
    compare,
    gather_setting,
    judge,
    propose_groups,
    sum_up,
    tabulate_plots,
)


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline; in a longer one the groups are built once, for all."""
    return Pipeline([groups_node()]) + _checks() + _judging()


def _checks() -> Pipeline:
    """Build what needs no score, so that it ends a run before any trial."""
    checked = Node(
        check_names,
        [
            *("groups", "params:worst_case_check", "params:stress"),
            *("audit_ledger", "profiles", "samples"),
        ],
        "checked_policy",
        name="check_policy",
    )
    priced = Node(
        check_business,
        ["groups", "params:business"],
        "checked_business",
        name="check_business",
    )
    return Pipeline([checked, priced])


def _judging() -> Pipeline:
    proposed = Node(
        propose_groups,
        ["samples", "profiles", "group_definitions", "checked_policy"],
        "representative_groups",
        name="propose_groups",
    )
    gathered = Node(
        gather_setting,
        [
            *("groups", "samples", "audit_ledger"),
            *("predictions", "float_predictions", "representative_groups"),
        ],
        "audit_setting",
        name="gather_setting",
    )
    judged = Node(
        judge,
        [
            *("scores", "trials", "calibration_set_index"),
            *("checked_policy", "audit_setting", "checked_business"),
        ],
        ["verdict", "worst_case_table"],
        name="judge",
    )
    tables, plotted = ["worst_case_table", "scores"], ["worst_groups", "drop_distribution"]
    plots = Node(tabulate_plots, tables, plotted, name="tabulate_plots")
    summed = Node(sum_up, "verdict", "metrics", name="sum_up")
    compared = Node(
        compare,
        [
            *("verdict", "samples", "audit_setting"),
            *("champion_baseline", "checked_policy", "params:stress"),
        ],
        ["champion_comparison", "candidate_baseline"],
        name="compare_with_champion",
    )
    return Pipeline([proposed, gathered, judged, plots, summed, compared])
