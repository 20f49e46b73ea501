"""Worst-case reliability: groups, paired outcomes, exact tests, error budgets and the verdict.

Numbers in, numbers out: nothing here knows of Kedro or torch. Drops and limits are fractions; only
the policy, which people write, is in points.
"""

from ptq_pipeline.reliability.anytime import FailBudget, fail_budget, failing_draw
from ptq_pipeline.reliability.baseline import Baseline, audit_hash
from ptq_pipeline.reliability.candidate import CandidateOutcome, choose_candidate, judge_candidate
from ptq_pipeline.reliability.cells import (
    Cells,
    Counts,
    build_cells,
    collect_counts,
    needed_samples,
)
from ptq_pipeline.reliability.champion import (
    Comparison,
    candidate_baseline,
    compare_with_champion,
)
from ptq_pipeline.reliability.clusters import ClusteredAudit, cluster_sizes, clustered_groups
from ptq_pipeline.reliability.draws import (
    DrawSplit,
    false_pass_bound,
    share_of_good_draws,
    split_budget,
)
from ptq_pipeline.reliability.group_ids import GroupId, defined_ids
from ptq_pipeline.reliability.groups import (
    Groups,
    Partition,
    build_groups,
    defined_segments,
)
from ptq_pipeline.reliability.interval import drop_interval, simultaneous_intervals
from ptq_pipeline.reliability.ledger import Entry, Ledger, alpha_at
from ptq_pipeline.reliability.obligations import (
    TouchedObligation,
    acknowledgement,
    acknowledges,
    touched_obligations,
)
from ptq_pipeline.reliability.outcomes import SCORE_COLUMNS, score
from ptq_pipeline.reliability.paired import (
    RejectionRegion,
    rejection_region,
    shown_above,
    shown_below,
)
from ptq_pipeline.reliability.policy import (
    CriticalGroup,
    LevelLimit,
    Limits,
    Obligation,
    Policy,
)
from ptq_pipeline.reliability.policy_names import check_policy
from ptq_pipeline.reliability.reasons import Reason
from ptq_pipeline.reliability.recipe import Draws, RecipeOutcome, collect_draws, judge_recipe
from ptq_pipeline.reliability.representatives import (
    Representative,
    keep_groups,
    propose_representatives,
)
from ptq_pipeline.reliability.spread import GroupComponents, group_components
from ptq_pipeline.reliability.tango import tango_score
from ptq_pipeline.reliability.tolerance import Tolerance, tolerance_bound
from ptq_pipeline.reliability.unjudged import UnjudgedGroup
from ptq_pipeline.reliability.verdict import build_verdict
from ptq_pipeline.reliability.verdict_form import Verdict

__all__ = [
    "SCORE_COLUMNS",
    "Baseline",
    "CandidateOutcome",
    "Cells",
    "ClusteredAudit",
    "Comparison",
    "Counts",
    "CriticalGroup",
    "DrawSplit",
    "Draws",
    "Entry",
    "FailBudget",
    "GroupComponents",
    "GroupId",
    "Groups",
    "Ledger",
    "LevelLimit",
    "Limits",
    "Obligation",
    "Partition",
    "Policy",
    "Reason",
    "RecipeOutcome",
    "RejectionRegion",
    "Tolerance",
    "Representative",
    "TouchedObligation",
    "UnjudgedGroup",
    "Verdict",
    "alpha_at",
    "audit_hash",
    "build_cells",
    "build_groups",
    "build_verdict",
    "candidate_baseline",
    "check_policy",
    "choose_candidate",
    "cluster_sizes",
    "clustered_groups",
    "defined_ids",
    "defined_segments",
    "collect_counts",
    "collect_draws",
    "compare_with_champion",
    "drop_interval",
    "fail_budget",
    "failing_draw",
    "false_pass_bound",
    "group_components",
    "judge_candidate",
    "judge_recipe",
    "keep_groups",
    "needed_samples",
    "propose_representatives",
    "rejection_region",
    "score",
    "share_of_good_draws",
    "shown_above",
    "shown_below",
    "simultaneous_intervals",
    "split_budget",
    "tango_score",
    "tolerance_bound",
    "acknowledgement",
    "acknowledges",
    "touched_obligations",
]
