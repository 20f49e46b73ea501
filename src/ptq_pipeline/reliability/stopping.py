"""May a study stop? FAIL is valid after any draw, so later draws cannot change it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.reliability.anytime import fail_budget, failing_draw
from ptq_pipeline.reliability.cells import Cells, Counts, build_cells, collect_counts
from ptq_pipeline.reliability.draws import DrawSplit, split_budget
from ptq_pipeline.reliability.groups import Groups
from ptq_pipeline.reliability.outcomes import CLEAN, score
from ptq_pipeline.reliability.policy import GroupKey, Policy
from ptq_pipeline.reliability.recipe import judge_draws
from ptq_pipeline.reliability.representatives import keep_groups


def planned_cells(
    groups: Groups,
    shifts: Sequence[str],
    policy: Policy,
    split: DrawSplit,
    clusters: Mapping[GroupKey, NDArray[np.float64]] | None = None,
    only: Collection[GroupKey] = (),
) -> Cells:
    """Fix the cells of an audit from counts alone, before any draw is evaluated.

    Args:
        groups: Groups of the evaluated samples.
        shifts: Names of the shifts.
        policy: Limits and critical groups.
        split: Budget of PASS for the distinct draws.
        clusters: Sizes of the clusters of groups that hold several samples of one.
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
    return build_cells(scores, policy, split.alpha_image, clusters or (), clusters)


def float_counts(cells: Cells, groups: Groups, reference: pd.DataFrame) -> Counts:
    """Count the float model's right answers in every cell.

    Args:
        cells: The cells.
        groups: Groups of the evaluated samples.
        reference: ``shift``, ``sample_id``, ``predicted`` of the float model.
    """
    trials = _one_trial("float", 0)
    scores = score(reference.assign(trial_id="float"), reference, groups, trials)
    return collect_counts(scores, cells, ["float"], "audit")


def _one_trial(trial_id: str, draw: int) -> pd.DataFrame:
    row = {"trial_id": trial_id, "set_id": "", "strategy": "", "role": "evidence", "draw": draw}
    return pd.DataFrame([row]).assign(status="done")


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
        clusters: Sizes of the clusters of groups that hold several samples of one.
        only: The groups to judge; all of them when empty.
    """

    def __init__(
        self,
        groups: Groups,
        shifts: Sequence[str],
        policy: Policy,
        draws: int,
        reference: pd.DataFrame,
        clusters: Mapping[GroupKey, NDArray[np.float64]] | None = None,
        only: Collection[GroupKey] = (),
    ) -> None:
        self.groups, self.reference = groups, reference
        self.split = split_budget(max(draws, 1), policy.p0, policy.alpha)
        self.cells = planned_cells(groups, shifts, policy, self.split, clusters, only)
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
        trials = _one_trial(trial, len(self.bad))
        scores = score(predictions, self.reference, self.groups, trials)
        counts = collect_counts(scores, self.cells, [trial], "audit")
        _, bad = judge_draws(counts, self.cells, self.split.alpha_image, self.budget.alpha_images)
        return bool(bad.any())
