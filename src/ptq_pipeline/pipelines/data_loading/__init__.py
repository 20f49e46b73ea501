"""From images and a float model to tables: samples, pixels and profiles."""

from ptq_pipeline.pipelines.data_loading.pipeline import create_pipeline

__all__ = ["create_pipeline"]
