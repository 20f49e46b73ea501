"""The ``data_loading`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.data_loading.nodes import (
    build_samples,
    decode_images,
    define_segments,
    profile_samples,
)


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            Node(
                decode_images,
                ["image_source", "float_model", "params:data_loading"],
                ["images", "image_table", "metadata_definitions"],
                name="decode_images",
            ),
            Node(
                profile_samples,
                ["image_table", "images", "float_model", "params:data_loading"],
                ["unsegmented_profiles", "feature_projection"],
                name="profile_samples",
            ),
            Node(
                define_segments,
                [
                    *("metadata_definitions", "unsegmented_profiles"),
                    *("float_model", "params:data_loading"),
                ],
                "group_definitions",
                name="define_segments",
            ),
            Node(
                build_samples,
                ["image_table", "unsegmented_profiles", "group_definitions"],
                ["samples", "profiles"],
                name="build_samples",
            ),
        ]
    )
