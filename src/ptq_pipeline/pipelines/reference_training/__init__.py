"""Training of the reference models that are committed with the project."""

from ptq_pipeline.pipelines.reference_training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
