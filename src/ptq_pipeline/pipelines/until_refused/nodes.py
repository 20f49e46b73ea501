"""Nodes of ``until_refused``."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.models import FloatModel
from ptq_pipeline.pipelines.quantization.nodes import run_trials
from ptq_pipeline.pipelines.quantization.parameters import QuantizationParameters, StressParameters
from ptq_pipeline.pipelines.subgroup_scoring.nodes import define_groups
from ptq_pipeline.pipelines.subgroup_scoring.parameters import SubgroupScoringParameters
from ptq_pipeline.pipelines.worst_case_check.nodes import propose_groups
from ptq_pipeline.pipelines.worst_case_check.parameters import WorstCaseCheckParameters
from ptq_pipeline.reliability import collect_draws
from ptq_pipeline.reliability.stopping import Refusal
from ptq_pipeline.trials.store import TrialStore


def run_trials_until_refused(
    samples: pd.DataFrame,
    images: np.ndarray,
    stressed: dict[str, np.ndarray],
    model: FloatModel,
    sets: dict[str, CalibrationSet],
    index: pd.DataFrame,
    store: TrialStore,
    shifts: StressParameters,
    parameters: QuantizationParameters,
    group_definitions: Mapping[str, Any],
    scoring: SubgroupScoringParameters,
    policy: WorstCaseCheckParameters,
    profiles: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Quantize and predict as `run_trials`, up to the draw that refuses the recipe.

    Returns:
        ``trials``, ``predictions`` and ``float_predictions``.
    """
    groups = define_groups(samples, group_definitions, scoring)
    chosen = propose_groups(samples, profiles, group_definitions, policy)
    unseen = pd.DataFrame(columns=["trial_id", "set_id", "role", "status"])
    draws = collect_draws(index, unseen, policy)
    distinct = set(draws.table["set_id"])

    def refusal(reference: pd.DataFrame) -> Callable[[str, pd.DataFrame | None], bool]:
        seen = Refusal(
            *(groups, list(shifts.root), policy, draws.distinct, reference),
            only=[(each["level"], each["group"]) for each in chosen],
        )

        # Identical sets are one draw.
        return lambda set_id, predictions: set_id in distinct and seen.add(predictions)

    return run_trials(
        *(samples, images, stressed, model, sets, index, store, shifts, parameters), refusal
    )
