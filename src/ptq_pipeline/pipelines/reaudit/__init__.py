"""The champion, audited again on production windows."""

from ptq_pipeline.pipelines.reaudit.pipeline import create_pipeline

__all__ = ["create_pipeline"]
