"""The ``reference_training`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.reference_training.nodes import train_reference_model

MODELS = ("resnet20", "mobilenet_v2_small")


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline: one node a model."""
    return Pipeline(
        [
            Node(
                train_reference_model,
                [
                    "complete_images",
                    "image_source",
                    "training_hashes",
                    f"params:reference_training.{model}",
                ],
                [f"{model}_weights", f"{model}_training_record"],
                name=f"train_{model}",
            )
            for model in MODELS
        ]
    )
