"""The ``release`` pipeline; it runs by name only."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.release.nodes import gather_evidence, release_candidate


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            Node(
                gather_evidence,
                ["verdict", "champion_comparison", "candidate_execution", "candidate_model"],
                "evidence",
                name="gather_evidence",
            ),
            Node(
                release_candidate,
                ["decision", "evidence", "registry", "params:release"],
                "release_record",
                name="release_candidate",
            ),
        ]
    )
