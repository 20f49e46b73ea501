"""Which pipelines exist, and what a plain ``kedro run`` does."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

from ptq_pipeline.mounting import DEFAULT


def register_pipelines() -> dict[str, Pipeline]:
    """Return all pipelines by name; ``__default__`` is the audit from images to report.

    Every node has the name of its pipeline as a tag, by which Kedro-Viz shows one stage alone.
    """
    found = find_pipelines(raise_errors=True)
    pipelines = {name: Pipeline(each, tags=[name]) for name, each in found.items()}
    chain = [pipelines[name] for name in DEFAULT if name in pipelines]
    pipelines["__default__"] = sum(chain, Pipeline([]))
    return pipelines
