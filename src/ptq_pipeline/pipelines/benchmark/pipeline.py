"""The ``benchmark`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.benchmark.nodes import (
    analyse_benchmark,
    benchmark_of,
    draw_benchmark,
)
from ptq_pipeline.pipelines.benchmark.parameters import MODELS


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline: one node a model, then tables and figures of all."""
    trials = [f"benchmark_{model}_{what}" for model in MODELS for what in ("trials", "answers")]
    return Pipeline(
        [
            Node(
                benchmark_of(model),
                [
                    "samples",
                    "images",
                    "group_definitions",
                    f"{model}_model",
                    "trial_store",
                    "params:benchmark",
                ],
                [f"benchmark_{model}_trials", f"benchmark_{model}_answers"],
                name=f"benchmark_{model}",
            )
            for model in MODELS
        ]
        + [
            Node(
                analyse_benchmark,
                ["samples", "group_definitions", "params:benchmark", *trials],
                ["benchmark_cells", "benchmark_effects", "benchmark_variance"],
                name="analyse_benchmark",
            ),
            Node(
                draw_benchmark,
                ["benchmark_cells", "benchmark_effects", "params:benchmark"],
                [
                    "benchmark_curves_figure",
                    "benchmark_methods_figure",
                    "benchmark_effects_figure",
                ],
                name="draw_benchmark",
            ),
        ]
    )
