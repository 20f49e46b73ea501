"""The recipe's verdict from no more images and draws than it needs."""

from ptq_pipeline.pipelines.settling.pipeline import create_pipeline

__all__ = ["create_pipeline"]
