"""Production windows as they arrive: believed or not, drifted or not."""

from ptq_pipeline.pipelines.monitoring.pipeline import create_pipeline

__all__ = ["create_pipeline"]
