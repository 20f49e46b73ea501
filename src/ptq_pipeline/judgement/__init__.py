"""Policy, cells, one judge, the verdict and the decision about it.

Drops and limits are fractions; only the policy, which people write, is in points. Nothing here
knows of Kedro or torch.
"""

from ptq_pipeline.judgement.baseline import Baseline, audit_hash
from ptq_pipeline.judgement.candidate import Candidate, choose_candidate, judge_candidate
from ptq_pipeline.judgement.cells import Cells, Counts, build_cells, collect_counts, needed_samples
from ptq_pipeline.judgement.champion import Comparison, candidate_baseline, compare_with_champion
from ptq_pipeline.judgement.judging import Judged, cell_intervals, judge
from ptq_pipeline.judgement.ledger import Entry, Ledger, alpha_at
from ptq_pipeline.judgement.obligations import TouchedObligation, touched_obligations
from ptq_pipeline.judgement.policy import CriticalGroup, LevelLimit, Limits, Obligation, Policy
from ptq_pipeline.judgement.policy_names import check_policy
from ptq_pipeline.judgement.reasons import Reason
from ptq_pipeline.judgement.recipe import Draws, RecipeOutcome, collect_draws, judge_recipe
from ptq_pipeline.judgement.representatives import (
    Representative,
    keep_groups,
    propose_representatives,
)
from ptq_pipeline.judgement.spread import GroupComponents, group_components
from ptq_pipeline.judgement.tolerance import Tolerance, tolerance_bound
from ptq_pipeline.judgement.unjudged import UnjudgedGroup
from ptq_pipeline.judgement.verdict import AuditSetting, build_verdict
from ptq_pipeline.judgement.verdict_form import Verdict

__all__ = [
    "AuditSetting",
    "Baseline",
    "Candidate",
    "Cells",
    "Comparison",
    "Counts",
    "CriticalGroup",
    "Draws",
    "Entry",
    "GroupComponents",
    "Judged",
    "Ledger",
    "LevelLimit",
    "Limits",
    "Obligation",
    "Policy",
    "Reason",
    "RecipeOutcome",
    "Representative",
    "Tolerance",
    "TouchedObligation",
    "UnjudgedGroup",
    "Verdict",
    "alpha_at",
    "audit_hash",
    "build_cells",
    "build_verdict",
    "candidate_baseline",
    "cell_intervals",
    "check_policy",
    "choose_candidate",
    "collect_counts",
    "collect_draws",
    "compare_with_champion",
    "group_components",
    "judge",
    "judge_candidate",
    "judge_recipe",
    "keep_groups",
    "needed_samples",
    "propose_representatives",
    "tolerance_bound",
    "touched_obligations",
]
