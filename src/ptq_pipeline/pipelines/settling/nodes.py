"""Nodes of ``settling``."""

import logging
from collections.abc import Mapping

import pandas as pd

from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.judgement.judged_groups import propose_representatives
from ptq_pipeline.judgement.ledger import Ledger
from ptq_pipeline.judgement.openings import Opener
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.stopping import Scope
from ptq_pipeline.reporting.progress import track
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.settling import SettledVerdict, SettlingParameters, settle

log = logging.getLogger(__name__)


def plan_scope(
    data: AuditData, groups: Groups, index: pd.DataFrame, policy: Policy, ledger: Ledger
) -> Scope:
    """Fix what is judged as the verdict would: representatives where policy asks for them."""
    chosen = propose_representatives(data.samples, data.profiles, data.definitions, policy)
    only = [each.key for each in chosen]
    return Scope.planned(index, groups, policy, only, Opener.of(ledger, data.samples))


def settle_recipe(
    audit: Audit,
    scope: Scope,
    sets: Mapping[str, CalibrationSet],
    parameters: SettlingParameters,
) -> SettledVerdict:
    """Look at draws and images until the recipe's verdict is settled.

    Returns:
        The recipe's verdict and what it took. A promotion needs the full evaluation.
    """
    pixels = {set_id: sets[set_id].images for set_id in scope.draws.table["set_id"]}
    found = settle(audit, scope, pixels, parameters, lambda ids: track(ids, len(ids), "draws"))
    log.info("%s", found.statement)
    return found
