"""Which pipelines exist, and what a plain ``kedro run`` does."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

DEFAULT = (
    "data_loading",
    "calibration",
    "quantization",
    "subgroup_scoring",
    "worst_case_check",
    "drift",
    "promotion",
    "reporting",
)


def register_pipelines() -> dict[str, Pipeline]:
    """Return all pipelines by name; ``__default__`` is the audit from images to report."""
    pipelines = find_pipelines(raise_errors=True)
    chain = [pipelines[name] for name in DEFAULT if name in pipelines]
    pipelines["__default__"] = sum(chain, Pipeline([]))
    return pipelines
