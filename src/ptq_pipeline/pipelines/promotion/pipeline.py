"""The ``promotion`` pipeline: it decides and exports, and switches nothing."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.promotion.execution import execute_candidate
from ptq_pipeline.pipelines.promotion.nodes import decide, export_candidate
from ptq_pipeline.pipelines.promotion.speed import measure_candidate


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            Node(
                export_candidate,
                [
                    "verdict",
                    "trials",
                    "calibration_sets",
                    "float_model",
                    "candidate_baseline",
                    "samples",
                    "images",
                    "trial_store",
                    "params:stress",
                    "params:quantization",
                ],
                "candidate_files",
                name="export_candidate",
            ),
            Node(
                execute_candidate,
                [
                    "verdict",
                    "candidate_files",
                    "samples",
                    "images",
                    "stressed_images",
                    "predictions",
                    "float_model",
                    "calibration_sets",
                    "trial_store",
                    "params:stress",
                    "params:quantization",
                ],
                "candidate_execution",
                name="execute_candidate",
            ),
            Node(
                measure_candidate,
                ["verdict", "candidate_files", "images", "float_model", "params:quantization"],
                "candidate_speed",
                name="measure_candidate",
            ),
            Node(
                decide,
                [
                    "verdict",
                    "champion_comparison",
                    "candidate_execution",
                    "candidate_files",
                    "params:promotion",
                ],
                ["decision", "candidate_model"],
                name="decide",
            ),
        ]
    )
