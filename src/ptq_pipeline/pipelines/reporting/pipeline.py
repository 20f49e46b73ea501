"""The ``reporting`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.reporting.nodes import (
    plot_drop_distribution,
    plot_group_shift_heat_map,
    plot_strategy_comparison,
    plot_worst_groups,
    write_junit,
    write_pull_request_summary,
    write_report,
    write_summary,
)
from ptq_pipeline.pipelines.reporting.worst_group import explain_worst_group, gather_lost_images

# What `write_report` takes, by the names of its arguments.
REPORT_INPUTS = {
    name: name
    for name in (
        *("verdict", "decision", "worst_case_table", "scores", "group_definitions"),
        *("calibration_set_index", "calibration_validation", "trials", "drift_table"),
        *("parity", "candidate_execution", "candidate_speed", "champion_comparison"),
        *("lost_images", "worst_group_layers", "decision_log"),
    )
} | {
    "quantization": "params:quantization",
    "calibration": "params:calibration",
    "stress": "params:stress",
    "parameters": "params:reporting",
}

_FIGURES = {
    "worst_groups": plot_worst_groups,
    "drop_distribution": plot_drop_distribution,
    "group_shift_heatmap": plot_group_shift_heat_map,
    "strategy_comparison": plot_strategy_comparison,
}


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline.

    The report draws its figures itself, since figures in the catalog can be saved and not loaded.
    Every figure is saved twice: ``<name>_figure`` is a PNG and ``<name>_drawing`` an SVG.
    """
    figures = [
        Node(
            plot,
            ["worst_case_table", "scores", "group_definitions", "params:reporting"],
            [f"{figure}_figure", f"{figure}_drawing"],
            name=plot.__name__,
        )
        for figure, plot in _FIGURES.items()
    ]
    return Pipeline(
        [
            *figures,
            Node(
                gather_lost_images,
                [
                    "verdict",
                    "samples",
                    "group_definitions",
                    "images",
                    "stressed_images",
                    "float_predictions",
                    "predictions",
                    "calibration_sets",
                ],
                "lost_images",
                name="gather_lost_images",
            ),
            Node(
                explain_worst_group,
                [
                    "verdict",
                    "samples",
                    "group_definitions",
                    "images",
                    "float_model",
                    "candidate_model",
                ],
                "worst_group_layers",
                name="explain_worst_group",
            ),
            Node(write_report, REPORT_INPUTS, "report", name="write_report"),
            Node(
                write_summary,
                ["verdict", "decision", "params:reporting"],
                "summary",
                name="write_summary",
            ),
            Node(
                write_pull_request_summary,
                ["verdict", "decision", "worst_case_table", "params:reporting"],
                "pull_request_summary",
                name="write_pull_request_summary",
            ),
            Node(write_junit, ["verdict", "decision"], "junit", name="write_junit"),
        ]
    )
