"""Nodes of ``settling``."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.models import FloatModel
from ptq_pipeline.pipelines.subgroup_scoring.nodes import define_groups
from ptq_pipeline.pipelines.subgroup_scoring.parameters import SubgroupScoringParameters
from ptq_pipeline.pipelines.worst_case_check.nodes import check_names, propose_groups
from ptq_pipeline.pipelines.worst_case_check.parameters import WorstCaseCheckParameters
from ptq_pipeline.reporting.progress import track
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.recipe import Recipe
from ptq_pipeline.trials.settling import settle
from ptq_pipeline.trials.stopping import Scope, SettlingParameters, Study
from ptq_pipeline.trials.store import TrialStore

log = logging.getLogger(__name__)


def settle_recipe(
    samples: pd.DataFrame,
    profiles: pd.DataFrame,
    images: np.ndarray,
    stressed: dict[str, np.ndarray],
    model: FloatModel,
    sets: dict[str, CalibrationSet],
    index: pd.DataFrame,
    group_definitions: Mapping[str, Any],
    store: TrialStore,
    shifts: StressParameters,
    quantization: Recipe,
    scoring: SubgroupScoringParameters,
    policy: WorstCaseCheckParameters,
    parameters: SettlingParameters,
) -> dict[str, Any]:
    """Look at draws and images until the recipe's verdict is settled.

    The groups are those that the verdict would judge: representatives where policy asks for them.

    Returns:
        The recipe's verdict and what it took. A promotion needs the full evaluation.

    Raises:
        InputError: Policy names a group or a shift that does not exist.
    """
    groups = define_groups(samples, group_definitions, scoring)
    check_names(groups, policy, shifts, profiles=profiles)
    chosen = propose_groups(samples, profiles, group_definitions, policy)
    scope = Scope.planned(index, groups, policy, chosen)
    audit = Audit(AuditData(samples, images, stressed), model, store, shifts, quantization)
    runner = audit.runner()
    study = Study.of(scope, audit.evaluation, parameters, audit.float_reference(runner))
    pixels = {set_id: sets[set_id].images for set_id in scope.draws.table["set_id"]}
    found = settle(study, runner, pixels, lambda ids: track(ids, len(ids), "draws")).to_json()
    log.info("%s", found["statement"])
    return found
