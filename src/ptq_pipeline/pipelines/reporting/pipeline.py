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
                write_report,
                [
                    "verdict",
                    "decision",
                    "worst_case_table",
                    "scores",
                    "calibration_set_index",
                    "calibration_validation",
                    "parity",
                    "drift_table",
                    "group_definitions",
                    "trials",
                    "params:quantization",
                    "params:calibration",
                    "params:stress",
                    "params:reporting",
                ],
                "report",
                name="write_report",
            ),
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
