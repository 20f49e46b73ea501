"""The ``subgroup_scoring`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.subgroup_scoring.nodes import define_groups, score_groups


def groups_node() -> Node:
    """Build the node that every pipeline takes its groups from; equal nodes run once."""
    return Node(
        define_groups,
        ["samples", "group_definitions", "params:subgroup_scoring"],
        "groups",
        name="define_groups",
    )


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            groups_node(),
            Node(
                score_groups,
                ["predictions", "float_predictions", "groups", "trials"],
                "scores",
                name="score_groups",
            ),
        ]
    )
