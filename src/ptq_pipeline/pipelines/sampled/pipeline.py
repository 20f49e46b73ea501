"""The ``sampled`` pipeline: it takes the place of ``quantization``, for a policy that samples.

A stage of its own, because what is looked at depends on the policy.
"""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines.quantization import create_pipeline as quantization
from ptq_pipeline.pipelines.sampled.nodes import run_sampled_trials
from ptq_pipeline.pipelines.settling.pipeline import scoped


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline: inputs and outputs of `quantization`, a fraction of its answers."""
    (trials,) = quantization().only_nodes("run_trials").nodes
    # The scope enters what is asked in the ledger, before any draw.
    given = [name for name in trials.inputs if name != "audit_ledger"]
    study = Node(
        run_sampled_trials,
        [*given, "scope"],
        trials.outputs,
        name="run_sampled_trials",
    )
    return scoped(study) + quantization().only_nodes("check_model", "measure_parity")
