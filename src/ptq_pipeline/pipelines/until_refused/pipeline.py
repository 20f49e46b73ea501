"""The ``until_refused`` pipeline.

A stage of its own, because it depends on the policy: in `quantization` a changed limit changes
nothing that was evaluated.
"""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.quantization import create_pipeline as quantization
from ptq_pipeline.pipelines.until_refused.nodes import run_trials_until_refused


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline: inputs and outputs of `quantization`, fewer draws of a bad recipe."""
    whole = quantization()
    others = whole.filter(node_names=["stress_images", "measure_parity"])
    (trials,) = whole.filter(node_names=["run_trials"]).nodes
    return others + Pipeline(
        [
            Node(
                run_trials_until_refused,
                [
                    *trials.inputs,
                    "group_definitions",
                    "params:subgroup_scoring",
                    "params:worst_case_check",
                    "profiles",
                ],
                trials.outputs,
                name="run_trials_until_refused",
            )
        ]
    )
