"""The audit again, calibrated on production: candidate against champion, on old and new images."""

from ptq_pipeline.pipelines.requantization.pipeline import create_pipeline

__all__ = ["create_pipeline"]
