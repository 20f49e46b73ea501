"""Make a promoted candidate the champion: the only pipeline that changes the registry."""

from ptq_pipeline.pipelines.release.pipeline import create_pipeline

__all__ = ["create_pipeline"]
