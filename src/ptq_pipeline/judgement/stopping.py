"""May a study stop? FAIL is valid after any draw, so later draws cannot change it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from ptq_pipeline.core.group_ids import GroupKey
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.outcomes import Outcomes, tally
from ptq_pipeline.judgement.cells import Cells, Counts, build_cells, collect_counts
from ptq_pipeline.judgement.judging import judge
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.scope import keep_groups
from ptq_pipeline.statistics.anytime import fail_budget, failing_draw
from ptq_pipeline.statistics.draws import DrawSplit, split_budget


def planned_cells(
    groups: Groups,
    shifts: Sequence[str],
    policy: Policy,
    split: DrawSplit,
    only: Collection[GroupKey] = (),
) -> Cells:
    """Fix the cells of an audit from counts alone, before any draw is evaluated.

    Args:
        groups: Groups of the evaluated samples.
        shifts: Names of the shifts.
        policy: Limits and critical groups.
        split: Budget of PASS for the distinct draws.
        only: The groups to judge; all of them when empty.

    Returns:
        The cells of the full audit, those under conditions of control columns included.
    """
    seen = {shift: groups for shift in shifts}
    if CLEAN in shifts:
        seen |= {condition: groups.under(condition) for condition in groups.conditions}
    scores = pd.concat(
        keep_groups(under.counts("audit"), list(only)).assign(split="audit", shift=shift)
        for shift, under in seen.items()
    )
    return build_cells(scores, policy, split.alpha_image, groups.cluster_sizes)


def float_counts(cells: Cells, groups: Groups, reference: pd.DataFrame) -> Counts:
    """Count the float model's right answers in every cell.

    Args:
        cells: The cells.
        groups: Groups of the evaluated samples.
        reference: ``shift``, ``sample_id``, ``predicted`` of the float model.
    """
    own = reference.assign(trial_id="float")
    scores = tally(Outcomes.pair(own, reference, groups))
    return collect_counts(scores, cells, ["float"], "audit")


class Refusal:
    """Whether the draws so far refuse the recipe, as `judge_recipe` would.

    Draws are added in the order in which they were drawn, whatever order they finish in, so where
    a study stops does not depend on who evaluates it. Cells of clustered groups are not looked at:
    they can only make the verdict of all draws harsher.

    Args:
        groups: Groups of the evaluated samples.
        shifts: Names of the shifts.
        policy: Limits and errors.
        draws: Distinct draws of the full audit.
        reference: ``shift``, ``sample_id``, ``predicted`` of the float model.
        only: The groups to judge; all of them when empty.
    """

    def __init__(
        self,
        groups: Groups,
        shifts: Sequence[str],
        policy: Policy,
        draws: int,
        reference: pd.DataFrame,
        only: Collection[GroupKey] = (),
    ) -> None:
        self.groups, self.reference = groups, reference
        self.split = split_budget(max(draws, 1), policy.p0, policy.alpha)
        self.cells = planned_cells(groups, shifts, policy, self.split, only)
        self.budget = fail_budget(policy.p0, policy.alpha_fail)
        self.bad: list[bool] = []

    def add(self, predictions: pd.DataFrame | None) -> bool:
        """Add a draw and return whether the recipe is refused by now.

        Args:
            predictions: ``trial_id``, ``shift``, ``sample_id``, ``predicted`` of its one trial;
                None for a failed trial, which is a bad draw.
        """
        self.bad.append(predictions is None or self._shown_bad(predictions))
        return failing_draw(self.bad, self.budget) is not None

    def _shown_bad(self, predictions: pd.DataFrame) -> bool:
        trial = str(predictions["trial_id"].iloc[0])
        scores = tally(Outcomes.pair(predictions, self.reference, self.groups))
        counts = collect_counts(scores, self.cells, [trial], "audit")
        found = judge(counts, self.cells, self.split.alpha_image, self.budget.alpha_images)
        return bool(found.shown_bad.any())
