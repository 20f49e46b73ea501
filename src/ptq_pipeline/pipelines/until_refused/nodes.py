"""Nodes of ``until_refused``."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.models import FloatModel
from ptq_pipeline.pipelines.quantization.nodes import trials_of
from ptq_pipeline.pipelines.subgroup_scoring.nodes import define_groups
from ptq_pipeline.pipelines.subgroup_scoring.parameters import SubgroupScoringParameters
from ptq_pipeline.pipelines.worst_case_check.nodes import propose_groups
from ptq_pipeline.pipelines.worst_case_check.parameters import WorstCaseCheckParameters
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.recipe import Recipe
from ptq_pipeline.trials.stopping import Scope
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
    parameters: Recipe,
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
    scope = Scope.planned(index, groups, policy, chosen)
    data = AuditData(samples, images, stressed)
    audit = Audit(data, model, store, shifts, parameters)
    return trials_of(audit, sets, index, scope.refusal(list(shifts.root)))
