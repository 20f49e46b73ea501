"""The ``quantization`` stage, ending as soon as its draws refuse the recipe."""

from ptq_pipeline.pipelines.until_refused.pipeline import create_pipeline

__all__ = ["create_pipeline"]
