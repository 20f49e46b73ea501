"""One self-contained report, its figures, and the lines that end a run."""

from ptq_pipeline.pipelines.reporting.pipeline import create_pipeline

__all__ = ["create_pipeline"]
