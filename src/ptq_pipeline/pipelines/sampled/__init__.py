"""The ``quantization`` stage, with most draws evaluated by a sample of their answers."""

from ptq_pipeline.pipelines.sampled.pipeline import create_pipeline

__all__ = ["create_pipeline"]
