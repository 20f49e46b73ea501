"""The ``quantization`` pipeline."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.core.names import ENTERS_A_LOOK, RUNS_CODE_OF_OTHERS
from ptq_pipeline.pipelines.audits import AUDIT
from ptq_pipeline.pipelines.nouns import AUDIT_DATA
from ptq_pipeline.pipelines.quantization.nodes import (
    check_model,
    measure_parity,
    run_trials,
    stress_images,
)


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    return Pipeline(
        [
            AUDIT_DATA,
            # In a longer run right behind the images, before they are profiled.
            Node(
                check_model,
                ["float_model", "images", "params:quantization", "trial_store"],
                None,
                name="check_model",
            ),
            Node(
                stress_images,
                ["audit_data", "params:stress"],
                "stressed_images",
                name="stress_images",
                tags=RUNS_CODE_OF_OTHERS,
            ),
            AUDIT,
            Node(
                run_trials,
                ["audit", "calibration_sets", "calibration_set_index", "audit_ledger"],
                ["trials", "predictions", "float_predictions"],
                name="run_trials",
                tags=ENTERS_A_LOOK,
            ),
            Node(
                measure_parity,
                ["audit", "calibration_sets", "trials", "predictions", "float_predictions"],
                "parity",
                name="measure_parity",
            ),
        ]
    )
