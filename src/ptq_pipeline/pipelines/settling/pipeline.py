"""The ``settling`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.quantization.nodes import stress_images
from ptq_pipeline.pipelines.settling.nodes import settle_recipe


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline; it needs `data_loading` and `calibration` before it."""
    return Pipeline(
        [
            Node(
                stress_images,
                ["samples", "images", "params:stress"],
                "stressed_images",
                name="stress_images",
            ),
            Node(
                settle_recipe,
                [
                    "samples",
                    "profiles",
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
            ),
        ]
    )
