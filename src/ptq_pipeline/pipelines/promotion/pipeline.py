"""The ``promotion`` pipeline: it decides and exports, and switches nothing."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.audits import AUDIT
from ptq_pipeline.pipelines.nouns import AUDIT_DATA
from ptq_pipeline.pipelines.promotion.execution import execute_candidate
from ptq_pipeline.pipelines.promotion.nodes import decide, export_candidate
from ptq_pipeline.pipelines.promotion.speed import measure_candidate


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline; in a longer one the audit is gathered once, for all."""
    return Pipeline(
        [
            AUDIT_DATA,
            AUDIT,
            Node(
                export_candidate,
                ["audit", "verdict", "trials", "calibration_sets", "candidate_baseline"],
                "candidate_files",
                name="export_candidate",
            ),
            Node(
                execute_candidate,
                [
                    *("audit", "verdict", "candidate_files", "predictions"),
                    *("float_predictions", "calibration_sets"),
                ],
                "candidate_execution",
                name="execute_candidate",
            ),
            Node(
                measure_candidate,
                ["audit", "verdict", "candidate_files"],
                "candidate_speed",
                name="measure_candidate",
            ),
            Node(
                decide,
                [
                    *("verdict", "champion_comparison", "candidate_execution"),
                    *("candidate_files", "params:promotion"),
                ],
                ["decision", "candidate_model"],
                name="decide",
            ),
        ]
    )
