"""The ``reaudit`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.reaudit.nodes import audit_champion, divide_production


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            Node(
                divide_production,
                [
                    "production_windows",
                    "window_history",
                    "samples",
                    "images",
                    "float_model",
                    "feature_projection",
                    "group_definitions",
                    "params:monitoring",
                    "params:reaudit",
                ],
                ["production_samples", "production_images", "production_sample_profiles"],
                name="divide_production",
            ),
            Node(
                audit_champion,
                [
                    "production_samples",
                    "production_images",
                    "float_model",
                    "registry",
                    "group_definitions",
                    "params:worst_case_check",
                    "params:stress",
                    "audit_ledger",
                    "samples",
                    "params:reaudit",
                ],
                "reaudit_result",
                name="audit_champion",
            ),
        ]
    )
