"""A table of outcomes before the one judge: policy, verdict, and what a report shows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from ptq_pipeline.core.errors import InputError, first_fault
from ptq_pipeline.core.group_ids import LEVELS
from ptq_pipeline.core.tally import SCORE_COLUMNS, tally
from ptq_pipeline.judgement.building import AuditSetting, judge_draws
from ptq_pipeline.judgement.cells import Requirement
from ptq_pipeline.judgement.judging import check_float_model
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.recipe import Draws, collect_draws
from ptq_pipeline.judgement.sentences import group_name, points
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.tasks.given import Given

# Those of the shipped audit; of small intersections a good model loses an answer or two in some.
LIMITS: Mapping[str, Mapping[str, float]] = {
    "average": {"points": 1.0},
    "class": {"points": 4.0},
    "segment": {"points": 2.5},
    "intersection": {"points": 10.0, "min_size": 130},
}
STRATEGY = "given"


@dataclass(frozen=True)
class JudgedTable:
    """What a table shows.

    Attributes:
        cells: The candidate's cells beside the drops over all draws, worst first.
        scores: Drop of every draw in every cell, the columns of ``scores``.
        trials: One row per draw; ``index`` the same for the calibration sets behind them.
    """

    given: Given
    verdict: Verdict
    cells: pd.DataFrame
    scores: pd.DataFrame
    trials: pd.DataFrame
    index: pd.DataFrame


def table_policy(content: Mapping[str, Any], limits: Mapping[str, float], draws: int) -> Policy:
    """Give the policy of a table.

    Args:
        content: Settings of ``worst_case_check``; what it leaves out is as shipped.
        limits: Points by level, which come before those of ``content``.
        draws: Draws of the table, which are the preset number unless ``content`` says another.

    Raises:
        InputError: Naming the first setting that does not hold.
    """
    own = dict(content.get("limits", {})) | {
        level: {**LIMITS.get(level, {}), "points": value} for level, value in limits.items()
    }
    if unknown := sorted(set(own) - set(LEVELS)):
        raise InputError(f"limits: '{unknown[0]}' is no level; the levels are {', '.join(LEVELS)}")
    for level, value in limits.items():
        if not (isinstance(value, Real) and 0 < value < 100):
            raise InputError(
                f"limits: {level} is {value!r}; give points of accuracy, more than 0 and less "
                "than 100"
            )
    known = {level: own.get(level, LIMITS[level]) for level in LEVELS}
    if "average" not in own and "class" in own:
        # The average keeps what all classes keep.
        most = known["class"].get("points", LIMITS["class"]["points"])
        known["average"] = {"points": min(LIMITS["average"]["points"], most)}
    try:
        return Policy.model_validate({"draws": max(draws, 1), **content, "limits": known})
    except ValidationError as error:
        raise InputError(f"policy: {first_fault(error)}") from error


def judge_table(given: Given, policy: Policy, candidate: str | None = None) -> JudgedTable:
    """Judge the outcomes of a table by the same judge as an audit's own.

    Args:
        given: The outcomes.
        policy: The policy.
        candidate: Name of the draw that would ship. Without it units of ``selection`` choose it,
            and without those it is the first draw.

    Raises:
        InputError: The policy or ``candidate`` names what does not exist, or the float model is
            not shown to be better than chance.
    """
    outcomes, groups = given.outcomes, given.groups
    policy.check_names(groups.by_level(), outcomes.shifts)
    if not outcomes.graded:
        audit = groups.split == "audit"
        right = int(outcomes.reference_right[0, audit].sum())
        check_float_model(right, int(audit.sum()), policy, groups.classes, noun="units")
    trials, index = _trials(given)
    draws = (
        collect_draws(index, trials, policy)
        if given.draws
        else Draws.of_one_model(outcomes.trial_ids[0])
    )
    scores = tally(outcomes).merge(trials.drop(columns="status"), on="trial_id")
    chosen = _candidate(given, candidate)
    setting = AuditSetting(groups=groups, given=outcomes, source=given.source, candidate=chosen)
    verdict, cells = judge_draws(scores, trials, draws, policy, setting)
    return JudgedTable(given, verdict, cells, scores[list(SCORE_COLUMNS)], trials, index)


def _trials(given: Given) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trials, and the calibration sets behind them: of each nothing is known but its draw."""
    ids = given.outcomes.trial_ids
    trials = pd.DataFrame(
        {
            "trial_id": ids,
            "set_id": [given.draws.get(each, "") for each in ids],
            "strategy": STRATEGY,
            "role": "evidence",
            "draw": np.arange(len(ids)),
            "status": "done",
        }
    )
    return trials, trials.drop(columns=["trial_id", "status"]).assign(valid=True)


def _candidate(given: Given, name: str | None) -> str | None:
    ids = given.outcomes.trial_ids
    if name is not None:
        named = {draw: trial for trial, draw in given.draws.items()}
        if name not in named:
            known = ", ".join(list(named)[:8]) or "none: the table has no column 'draw'"
            raise InputError(f"there is no draw '{name}' to be the candidate; the draws: {known}")
        return named[name]
    return None if given.chosen_on_selection and given.draws else ids[0]


def what_can_be_shown(given: Given, policy: Policy, verdict: Verdict) -> list[str]:
    """Say, from counts alone, what the units can show at best, level by level."""
    sizes, shifts = given.groups.sizes(), given.outcomes.shifts
    clusters = given.outcomes.cluster_sizes
    level = verdict.recipe.alpha_image if given.draws else policy.alpha
    alpha = policy.alpha if level is None else level
    lines = []
    for name in LEVELS[:3]:
        own = {key: n for key, n in sizes.items() if key[0] == name and n}
        if not own:
            continue
        key = min(own, key=lambda each: own[each])
        required = Requirement.of(policy, key, shifts, alpha, clusters.get(key))
        independent = len(clusters[key]) if key in clusters else own[key]
        shown = points(float(-np.expm1(np.log(alpha) / independent)))
        lines.append(
            f"{group_name(*key)}, the smallest of its level with {own[key]:,} units, can show a "
            f"drop below {shown} if nothing is lost; its limit is {points(required.limit)}"
        )
    return lines
