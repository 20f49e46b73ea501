"""Worst-case reliability: groups, paired outcomes, exact tests, error budgets and the verdict.

Numbers in, numbers out: nothing here knows of Kedro or torch. Drops and limits are fractions; only
the policy, which people write, is in points.
"""

from ptq_pipeline.reliability.anytime import FailBudget, fail_budget, failing_draw
from ptq_pipeline.reliability.baseline import Baseline, audit_hash
from ptq_pipeline.reliability.candidate import Candidate, choose_candidate, judge_candidate
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
from ptq_pipeline.reliability.documents import Document
from ptq_pipeline.reliability.draws import (
    DrawSplit,
    false_pass_bound,
    share_of_good_draws,
    split_budget,
)
from ptq_pipeline.reliability.group_ids import CellKey, GroupId, GroupKey, defined_ids
from ptq_pipeline.reliability.groups import (
    Groups,
    Partition,
    build_groups,
    defined_segments,
)
from ptq_pipeline.reliability.interval import drop_interval
from ptq_pipeline.reliability.judging import Judged, cell_intervals, judge
from ptq_pipeline.reliability.ledger import Entry, Ledger, alpha_at
from ptq_pipeline.reliability.obligations import TouchedObligation, touched_obligations
from ptq_pipeline.reliability.outcomes import SCORE_COLUMNS, Outcomes, score, tally
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
from ptq_pipeline.reliability.verdict import AuditSetting, build_verdict
from ptq_pipeline.reliability.verdict_form import Verdict

__all__ = [
    "AuditSetting",
    "Baseline",
    "Candidate",
    "CellKey",
    "Cells",
    "Comparison",
    "Counts",
    "CriticalGroup",
    "Document",
    "DrawSplit",
    "Draws",
    "Entry",
    "FailBudget",
    "GroupComponents",
    "GroupId",
    "GroupKey",
    "Groups",
    "Judged",
    "Ledger",
    "LevelLimit",
    "Limits",
    "Obligation",
    "Outcomes",
    "Partition",
    "Policy",
    "Reason",
    "RecipeOutcome",
    "RejectionRegion",
    "Representative",
    "SCORE_COLUMNS",
    "Tolerance",
    "TouchedObligation",
    "UnjudgedGroup",
    "Verdict",
    "alpha_at",
    "audit_hash",
    "build_cells",
    "build_groups",
    "build_verdict",
    "candidate_baseline",
    "cell_intervals",
    "check_policy",
    "choose_candidate",
    "collect_counts",
    "collect_draws",
    "compare_with_champion",
    "defined_ids",
    "defined_segments",
    "drop_interval",
    "fail_budget",
    "failing_draw",
    "false_pass_bound",
    "group_components",
    "judge",
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
    "split_budget",
    "tally",
    "tango_score",
    "tolerance_bound",
    "touched_obligations",
]
