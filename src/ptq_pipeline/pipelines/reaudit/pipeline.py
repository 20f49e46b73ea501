"""The ``reaudit`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.monitoring.pipeline import AUDITED
from ptq_pipeline.pipelines.reaudit.nodes import (
    audit_champion,
    divide_production,
    shift_production,
)


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            *AUDITED,
            Node(
                divide_production,
                [
                    "production_windows",
                    "window_history",
                    "audited",
                    "params:monitoring",
                    "params:reaudit",
                ],
                ["production_samples", "production_images", "production_sample_profiles"],
                name="divide_production",
            ),
            Node(
                shift_production,
                ["production_samples", "production_images", "params:stress", "params:reaudit"],
                "production_audit",
                name="shift_production",
            ),
            Node(
                audit_champion,
                [
                    "production_audit",
                    "audited",
                    "registry",
                    "audit_ledger",
                    "params:worst_case_check",
                    "params:reaudit",
                ],
                "reaudit_result",
                name="audit_champion",
            ),
        ]
    )
