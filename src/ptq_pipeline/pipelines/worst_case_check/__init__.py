"""From scores and a policy to a verdict."""

from ptq_pipeline.pipelines.worst_case_check.pipeline import create_pipeline

__all__ = ["create_pipeline"]
