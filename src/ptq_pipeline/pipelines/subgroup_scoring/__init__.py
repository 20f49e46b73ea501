"""From predictions to scores of every group under every shift."""

from ptq_pipeline.pipelines.subgroup_scoring.pipeline import create_pipeline

__all__ = ["create_pipeline"]
