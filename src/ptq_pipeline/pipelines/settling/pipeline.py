"""The ``settling`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.settling.nodes import settle_recipe


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            Node(
                settle_recipe,
                [
                    "samples",
                    "images",
                    "stressed_images",
                    "float_model",
                    "calibration_sets",
                    "calibration_set_index",
                    "group_definitions",
                    "trial_store",
                    "params:stress",
                    "params:quantization",
                    "params:subgroup_scoring",
                    "params:worst_case_check",
                    "params:settling",
                ],
                "settled_verdict",
                name="settle_recipe",
            )
        ]
    )
