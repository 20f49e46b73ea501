"""The ``release`` pipeline; it runs by name only."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.release.nodes import release_candidate


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            Node(
                release_candidate,
                [
                    "decision",
                    "verdict",
                    "champion_comparison",
                    "candidate_execution",
                    "candidate_model",
                    "registry",
                    "params:release",
                ],
                "release_record",
                name="release_candidate",
            )
        ]
    )
