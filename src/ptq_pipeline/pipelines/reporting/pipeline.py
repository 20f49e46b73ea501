"""The ``reporting`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.nouns import AUDIT_DATA
from ptq_pipeline.pipelines.reporting import detector, nodes, worst_group

# What `write_report` takes, by the names of its arguments.
REPORT_INPUTS = {
    name: name
    for name in (
        *("verdict", "decision", "worst_case_table", "scores", "group_definitions"),
        *("calibration_set_index", "calibration_validation", "trials", "drift_table"),
        *("parity", "candidate_execution", "candidate_speed", "champion_comparison"),
        *("lost_images", "worst_group_layers", "decision_log", "detector"),
    )
} | {
    "quantization": "params:quantization",
    "calibration": "params:calibration",
    "stress": "params:stress",
    "parameters": "params:reporting",
}
_FIGURES = ("worst_groups", "drop_distribution", "group_shift_heatmap", "strategy_comparison")
_ANSWERS = ["float_predictions", "predictions", "calibration_sets"]


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline.

    The report draws its figures itself, since figures in the catalog can be saved and not loaded.
    """
    drawn = [f"{name}_{kind}" for name in _FIGURES for kind in ("figure", "drawing")]
    writers = (
        (
            nodes.draw_figures,
            ["worst_case_table", "scores", "group_definitions", "params:reporting"],
            {name: name for name in drawn},
        ),
        (
            worst_group.gather_lost_images,
            ["verdict", "audit_data", "stressed_images", *_ANSWERS],
            "lost_images",
        ),
        (
            worst_group.explain_worst_group,
            ["verdict", "audit_data", "float_model", "candidate_model"],
            "worst_group_layers",
        ),
        (
            detector.describe_detector,
            ["verdict", "audit_data", "float_model", "candidate_model"],
            "detector",
        ),
        (nodes.write_report, REPORT_INPUTS, "report"),
        (nodes.write_summary, ["verdict", "decision", "params:reporting"], "summary"),
        (
            nodes.write_pull_request_summary,
            ["verdict", "decision", "worst_case_table", "params:reporting"],
            "pull_request_summary",
        ),
        (nodes.write_junit, ["verdict", "decision"], "junit"),
    )
    written = [
        Node(write, inputs, output, name=write.__name__) for write, inputs, output in writers
    ]
    return Pipeline([AUDIT_DATA, *written])
