"""The ``until_refused`` pipeline.

A stage of its own, because it depends on the policy: in `quantization` a changed limit changes
nothing that was evaluated.
"""

from collections.abc import Mapping

import pandas as pd
from kedro.pipeline import Node, Pipeline

from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.judgement.ledger import Ledger
from ptq_pipeline.judgement.stopping import Scope
from ptq_pipeline.pipelines.quantization import create_pipeline as quantization
from ptq_pipeline.pipelines.quantization.nodes import run_trials
from ptq_pipeline.pipelines.settling.pipeline import scoped
from ptq_pipeline.trials.audit import Audit


def run_trials_until_refused(
    audit: Audit,
    sets: Mapping[str, CalibrationSet],
    index: pd.DataFrame,
    ledger: Ledger,
    scope: Scope,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Quantize and predict as `run_trials`, up to the draw that refuses the recipe."""
    return run_trials(audit, sets, index, ledger, scope.refusal)


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline: inputs and outputs of `quantization`, fewer draws of a bad recipe."""
    (trials,) = quantization().only_nodes("run_trials").nodes
    study = Node(
        run_trials_until_refused,
        [*trials.inputs, "scope"],
        trials.outputs,
        name="run_trials_until_refused",
    )
    return scoped(study) + quantization().only_nodes("check_model", "measure_parity")
