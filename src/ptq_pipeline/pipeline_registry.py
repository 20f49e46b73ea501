"""Which pipelines exist, and what a plain ``kedro run`` does."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

from ptq_pipeline.mounting import DEFAULT


def register_pipelines() -> dict[str, Pipeline]:
    """Return all pipelines by name; ``__default__`` is the audit from images to report."""
    pipelines = find_pipelines(raise_errors=True)
    chain = [pipelines[name] for name in DEFAULT if name in pipelines]
    pipelines["__default__"] = sum(chain, Pipeline([]))
    return pipelines
