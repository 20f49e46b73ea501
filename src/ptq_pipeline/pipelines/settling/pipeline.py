"""The ``settling`` pipeline, and what `until_refused` shares with it."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.quantization import create_pipeline as quantization
from ptq_pipeline.pipelines.settling.nodes import plan_scope, settle_recipe
from ptq_pipeline.pipelines.worst_case_check import create_pipeline as worst_case_check


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline; it needs `data_loading` and `calibration` before it."""
    return scoped(
        Node(
            settle_recipe,
            ["audit", "scope", "calibration_sets", "params:settling"],
            "settled_verdict",
            name="settle_recipe",
        )
    )


def scoped(study: Node) -> Pipeline:
    """Build what a study that may stop early needs: the audit, and what its verdict is about."""
    gathered = ["gather_audit_data", "stress_images", "gather_audit"]
    scope = Node(
        plan_scope,
        ["audit_data", "groups", "calibration_set_index", "checked_policy", "audit_ledger"],
        "scope",
        name="plan_scope",
    )
    return (
        quantization().filter(node_names=gathered)
        + worst_case_check().filter(node_names=["define_groups", "check_policy"])
        + Pipeline([scope, study])
    )
