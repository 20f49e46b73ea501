"""The RQ1-RQ3 benchmark: methods x bits x calibration distributions x augmentations x shifts."""

from ptq_pipeline.pipelines.benchmark.pipeline import create_pipeline

__all__ = ["create_pipeline"]
