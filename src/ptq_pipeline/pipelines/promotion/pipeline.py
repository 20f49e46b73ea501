"""The ``promotion`` pipeline: it decides and exports, and switches nothing."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.promotion.nodes import decide, export_candidate


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            Node(
                export_candidate,
                ["verdict", "trials", "calibration_sets", "float_model", "candidate_baseline"],
                "candidate_files",
                name="export_candidate",
            ),
            Node(
                decide,
                ["verdict", "champion_comparison", "candidate_files", "params:promotion"],
                ["decision", "candidate_model"],
                name="decide",
            ),
        ]
    )
