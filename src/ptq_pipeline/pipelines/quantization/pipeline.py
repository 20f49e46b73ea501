"""The ``quantization`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.quantization.nodes import measure_parity, run_trials, stress_images


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            Node(
                stress_images,
                ["samples", "images", "params:stress"],
                "stressed_images",
                name="stress_images",
            ),
            Node(
                run_trials,
                [
                    "samples",
                    "images",
                    "stressed_images",
                    "float_model",
                    "calibration_sets",
                    "calibration_set_index",
                    "trial_store",
                    "params:stress",
                    "params:quantization",
                ],
                ["trials", "predictions", "float_predictions"],
                name="run_trials",
            ),
            Node(
                measure_parity,
                [
                    "samples",
                    "images",
                    "float_model",
                    "calibration_sets",
                    "trials",
                    "predictions",
                    "trial_store",
                    "params:quantization",
                ],
                "parity",
                name="measure_parity",
            ),
        ]
    )
