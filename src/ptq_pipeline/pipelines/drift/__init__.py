"""Do calibration sets and production windows look like the reference?"""

from ptq_pipeline.pipelines.drift.pipeline import create_pipeline

__all__ = ["create_pipeline"]
