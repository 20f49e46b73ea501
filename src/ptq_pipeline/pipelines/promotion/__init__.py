"""What is decided about the candidate, and the files that the decision is about."""

from ptq_pipeline.pipelines.promotion.pipeline import create_pipeline

__all__ = ["create_pipeline"]
