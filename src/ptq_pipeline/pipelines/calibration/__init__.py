"""Draw calibration sets and validate each of them against the production reference."""

from ptq_pipeline.pipelines.calibration.pipeline import create_pipeline

__all__ = ["create_pipeline"]
