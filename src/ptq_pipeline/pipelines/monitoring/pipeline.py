"""The ``monitoring`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.monitoring.nodes import (
    accept_arrivals,
    gather_audited,
    measure_windows,
    record_decisions,
)
from ptq_pipeline.pipelines.nouns import AUDIT_DATA

# What production is compared with, as the nodes of two pipelines take it.
AUDITED = (
    AUDIT_DATA,
    Node(
        gather_audited,
        ["audit_data", "float_model", "feature_projection", "params:subgroup_scoring"],
        "audited",
        name="gather_audited",
    ),
)


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            *AUDITED,
            Node(
                accept_arrivals,
                ["production_arrivals", "window_history", "audited", "params:monitoring"],
                ["accepted_windows", "arrivals_decided"],
                name="accept_arrivals",
            ),
            Node(
                measure_windows,
                ["accepted_windows", "audited", "registry", "params:drift", "params:monitoring"],
                ["windows_measured", "window_drift_reports"],
                name="measure_windows",
            ),
            Node(
                record_decisions,
                ["window_history", "arrivals_decided", "windows_measured"],
                "window_decisions",
                # Only now, with the decisions on disk, does a window count as seen.
                confirms="production_arrivals",
                name="record_decisions",
            ),
        ]
    )
