"""Exact tests, intervals, bets and bounds: numbers in, numbers out.

Drops and limits are fractions. Each module names the paper or the argument that its bound rests on.
"""

from ptq_pipeline.statistics.anytime import FailBudget, fail_budget, failing_draw
from ptq_pipeline.statistics.draws import (
    DrawSplit,
    false_pass_bound,
    share_of_good_draws,
    split_budget,
)
from ptq_pipeline.statistics.interval import drop_interval
from ptq_pipeline.statistics.paired import (
    RejectionRegion,
    rejection_region,
    shown_above,
    shown_below,
)
from ptq_pipeline.statistics.tango import tango_score

__all__ = [
    "DrawSplit",
    "FailBudget",
    "RejectionRegion",
    "drop_interval",
    "fail_budget",
    "failing_draw",
    "false_pass_bound",
    "rejection_region",
    "share_of_good_draws",
    "shown_above",
    "shown_below",
    "split_budget",
    "tango_score",
]
