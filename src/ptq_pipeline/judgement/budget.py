"""What a budget of draws and samples can show, known before anything runs: counts only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.core.group_ids import NAMED_LEVELS, GroupKey
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.judgement.cells import needed_in_samples
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.sentences import group_name, plural, points
from ptq_pipeline.statistics.betting import clusters_needed, zero_losses_show
from ptq_pipeline.statistics.draws import (
    share_of_good_draws,
    smallest_passing_draws,
    split_budget,
)
from ptq_pipeline.statistics.paired import rejection_region

# Shares of answers that a good model changes without losing on balance.
CHANGED = (0.01, 0.03)
MOST_NAMED = 8


@dataclass(frozen=True)
class GroupPlan:
    """What the audit can show about one group.

    Attributes:
        level: Its level.
        group: Its name.
        n: Audit samples.
        limit: Its strictest limit, a fraction.
        judged: Whether it will be judged.
        needed_n: From how many samples on it is.
        provable: The smallest limit that zero losses would show.
        power: Probability that a model which changes 1 % (3 %) of the answers and loses nothing on
            balance is shown to keep the limit in one draw; None for groups that are not judged.
        critical: Whether policy names it critical.
        blocks: Whether there is no PASS because it is not judged.
    """

    level: str
    group: str
    n: int
    limit: float
    judged: bool
    needed_n: int
    provable: float
    power: tuple[float, float] | None
    critical: bool
    blocks: bool

    @property
    def left_out(self) -> bool:
        """Whether a PASS would say nothing of this class or segment."""
        return not self.judged and self.level in NAMED_LEVELS


@dataclass(frozen=True)
class BudgetPlan:
    """What the configured budget can show at best.

    Attributes:
        draws: Draws that will be judged.
        can_pass: Whether any outcome can be a PASS.
        allowed: Draws that may stay not shown good.
        alpha_image: Level of each test of a draw.
        best: What the draws show at best, in a sentence.
        cheapest_draws: The fewest draws that could PASS.
        obstacles: What makes PASS impossible with this budget, in sentences.
        unprovable: Levels none of whose groups could show its limit, in sentences: a PASS says
            nothing of them.
        early_pass: The price of looking once before the preset number of draws; None where there
            is nothing to look at earlier.
        groups: Every group.
    """

    draws: int
    can_pass: bool
    allowed: int
    alpha_image: float
    best: str
    cheapest_draws: int
    obstacles: tuple[str, ...]
    unprovable: tuple[str, ...]
    early_pass: dict[str, Any] | None
    groups: tuple[GroupPlan, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


def group_counts(groups: Groups) -> pd.DataFrame:
    """Audit counts of every group, the fewest under any condition; 0 where a class has none."""
    sizes = groups.sizes()
    for condition in groups.conditions:
        seen = groups.under(condition).counts("audit").itertuples(index=False)
        sizes |= {(row.level, row.group): min(sizes[row.level, row.group], row.n) for row in seen}
    rows = [(*key, n) for key, n in sizes.items()]
    return pd.DataFrame(rows, columns=["level", "group", "n"])


def plan_budget(
    counts: pd.DataFrame,
    policy: Policy,
    shifts: Sequence[str],
    draws: int,
    clusters: Mapping[GroupKey, NDArray[np.float64]] | None = None,
) -> BudgetPlan:
    """Say what draws and samples can show at best.

    Args:
        counts: ``level``, ``group`` and ``n`` of the audit's groups; 0 for those without images.
        policy: The policy.
        shifts: The shifts.
        draws: Draws that the configuration makes.
        clusters: Sizes of the clusters of groups that hold several audit samples of one.

    Returns:
        The plan.
    """
    used = min(draws, policy.draws)
    split = split_budget(used, policy.p0, policy.alpha)
    groups = tuple(
        _group(
            policy,
            (str(row.level), str(row.group)),
            int(row.n),
            shifts,
            split.alpha_image,
            (clusters or {}).get((str(row.level), str(row.group))),
        )
        for row in counts.itertuples(index=False)
    )
    cheapest = smallest_passing_draws(policy.p0, policy.alpha)
    obstacles = _obstacles(policy, groups, used, draws, cheapest)
    share = share_of_good_draws(used, 0, split.alpha_image, policy.alpha)
    best = (
        f"{used} good of {plural(used, 'draw')} show, at {100 * (1 - policy.alpha):g} % "
        f"confidence, that at least {np.floor(100 * share):.0f} % of draws are good"
    )
    return BudgetPlan(
        draws=used,
        can_pass=not obstacles,
        allowed=max(split.allowed, 0),
        alpha_image=split.alpha_image,
        best=best,
        cheapest_draws=cheapest,
        obstacles=obstacles,
        unprovable=_unprovable(groups),
        early_pass=early_pass_price(policy.draws, policy.p0, policy.alpha),
        groups=groups,
    )


def early_pass_price(draws: int, p0: float, alpha: float) -> dict[str, Any] | None:
    """What one earlier look for PASS would cost the look at the preset number of draws.

    Two looks share ``alpha`` in halves (Bonferroni; Pocock 1977 for group-sequential looks), so
    both test at smaller levels: fewer draws may stay open, or every limit is harder to show.

    Args:
        draws: Preset number of draws.
        p0: Acceptable share of bad draws.
        alpha: Error of PASS.

    Returns:
        ``look_at`` and its level; the last look's level and allowed draws with and without it; None
        when no earlier look can pass.
    """
    early = smallest_passing_draws(p0, alpha / 2)
    if early >= draws:
        return None
    alone, last = split_budget(draws, p0, alpha), split_budget(draws, p0, alpha / 2)
    return {
        "look_at": early,
        "alpha_image_early": split_budget(early, p0, alpha / 2).alpha_image,
        "alpha_image": last.alpha_image,
        "allowed": max(last.allowed, 0),
        "alpha_image_without": alone.alpha_image,
        "allowed_without": max(alone.allowed, 0),
    }


def _group(
    policy: Policy,
    key: GroupKey,
    n: int,
    shifts: Sequence[str],
    alpha: float,
    clusters: NDArray[np.float64] | None,
) -> GroupPlan:
    limit = policy.strictest_limit(*key, shifts)
    needed = needed_in_samples(policy, key, shifts, alpha)
    judged = n >= needed
    if clusters is not None:
        judged = judged and zero_losses_show(clusters, limit, alpha)
        needed = max(needed, int(np.ceil(clusters_needed(limit, alpha) * clusters.mean())))
    power = None
    if judged and clusters is None:
        region = rejection_region(n, limit, alpha)
        first, second = (region.power(share / 2, share / 2) for share in CHANGED)
        power = (first, second)
    return GroupPlan(
        level=key[0],
        group=key[1],
        n=n,
        limit=limit,
        judged=judged,
        needed_n=needed,
        provable=float(-np.expm1(np.log(alpha) / n)) if n else 1.0,
        power=power,
        critical=policy.is_critical(*key),
        blocks=not judged and policy.must_be_judged(*key),
    )


def _obstacles(
    policy: Policy, groups: Sequence[GroupPlan], used: int, draws: int, cheapest: int
) -> tuple[str, ...]:
    found = []
    if used < cheapest:
        found.append(
            f"{plural(used, 'draw')} cannot show that at most {100 * policy.p0:g} % of draws are "
            f"bad, even if all are good: {cheapest} can."
        )
    if draws < policy.draws:
        found.append(f"policy presets {policy.draws} draws, calibration makes {draws}.")
    for group in groups:
        if group.critical and not group.judged:
            found.append(
                f"{group_name(group.level, group.group)} is critical, and its {group.n} samples "
                f"cannot be judged: {group.needed_n} are needed for {points(group.limit)}; they "
                f"could show {points(group.provable)}."
            )
    for group in groups:
        if group.level == "average" and group.blocks:
            found.append(
                f"the average's {group.n} samples cannot show {points(group.limit)}; they could "
                f"show {points(group.provable)}."
            )
    named = [group for group in groups if group.blocks and group.level in NAMED_LEVELS]
    named = [group for group in named if not group.critical]
    found += [
        f"{group_name(group.level, group.group)} has {plural(group.n, 'image')} and needs "
        f"{group.needed_n:,} for {points(group.limit)}; add images, or name it in "
        "worst_case_check.allow_not_judged."
        for group in named[:MOST_NAMED]
    ]
    if len(named) > MOST_NAMED:
        found.append(f"{len(named) - MOST_NAMED:,} other classes or segments are too small too.")
    if groups and not any(group.judged for group in groups):
        found.append("no group has enough samples for its limit, so nothing would be judged.")
    return tuple(found)


def _unprovable(groups: Sequence[GroupPlan]) -> tuple[str, ...]:
    found = []
    for level in dict.fromkeys(group.level for group in groups):
        own = [group for group in groups if group.level == level]
        if any(group.judged for group in own):
            continue
        best = min(own, key=lambda group: group.needed_n - group.n)
        found.append(
            f"{group_name(level, best.group)} comes nearest, with {best.n} of the {best.needed_n} "
            f"samples that its limit of {points(best.limit)} needs; they could show "
            f"{points(best.provable)}."
        )
    return tuple(found)
