"""Before anything runs, from counts only: what a budget can show, and about what would settle it.

Numbers of samples are plans, not evidence, so they use the usual normal approximation (a one-sided
test of a paired difference) around the observed rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.group_ids import NAMED_LEVELS, GroupDocument, GroupKey
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.judgement.cells import Requirement, needed_samples
from ptq_pipeline.judgement.openings import Opening
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.sentences import group_name, plural, points
from ptq_pipeline.statistics.draws import (
    share_of_good_draws,
    smallest_passing_draws,
    split_budget,
)
from ptq_pipeline.statistics.paired import rejection_region

# Shares of answers that a good model changes without losing on balance.
CHANGED = (0.01, 0.03)
MOST_NAMED = 8
POWER = 0.9


class GroupPlan(GroupDocument):
    """What the audit can show about one group.

    Attributes:
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

    @property
    def name(self) -> str:
        """The group with its level."""
        return group_name(*self.key)


class EarlyPass(Document):
    """What one earlier look for PASS costs: levels of tests and allowed draws.

    Those of the last look are given with the earlier one and ``without`` it.
    """

    look_at: int
    alpha_image_early: float
    alpha_image: float
    allowed: int
    alpha_image_without: float
    allowed_without: int


class BudgetPlan(Document):
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
        early_pass: None where there is nothing to look at earlier.
    """

    draws: int
    can_pass: bool
    allowed: int
    alpha_image: float
    best: str
    cheapest_draws: int
    obstacles: tuple[str, ...]
    unprovable: tuple[str, ...]
    early_pass: EarlyPass | None
    groups: tuple[GroupPlan, ...]


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
    *,
    opening: Opening | None = None,
) -> BudgetPlan:
    """Say what the ``draws`` that the configuration makes and its samples can show at best.

    Args:
        counts: ``level``, ``group`` and ``n`` of the audit's groups; 0 for those without images.
        policy: The policy.
        shifts: All shifts.
        draws: How many.
        clusters: Sizes of the clusters of groups that hold several audit samples of one.
        opening: What the audit ledger leaves to this question; all of alpha without one.
    """
    policy = policy if opening is None else opening.policy
    used = min(draws, policy.draws)
    split = split_budget(used, policy.p0, policy.alpha, policy.sampling)
    sizes = clusters or {}
    groups = tuple(
        _group(policy, key, n, shifts, split.alpha_image, sizes.get(key))
        for key, n in counts.set_index(["level", "group"])["n"].items()
    )
    spent = () if opening is None else (each.text for each in opening.reasons())
    obstacles = (*_too_few_draws(policy, used, draws), *_too_small(groups), *spent)
    share = share_of_good_draws(used, 0, split.alpha_image, policy.alpha, split.sampling)
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
        cheapest_draws=smallest_passing_draws(policy.p0, policy.alpha, policy.sampling),
        obstacles=obstacles,
        unprovable=_unprovable(groups),
        early_pass=early_pass_price(policy.draws, policy.p0, policy.alpha),
        groups=groups,
    )


def early_pass_price(draws: int, p0: float, alpha: float) -> EarlyPass | None:
    """What one earlier look for PASS would cost the look at the preset number of draws.

    Two looks share ``alpha`` in halves (Bonferroni; Pocock 1977 for group-sequential looks), so
    both test at smaller levels: fewer draws may stay open, or every limit is harder to show. None
    when no earlier look can pass.
    """
    early = smallest_passing_draws(p0, alpha / 2)
    if early >= draws:
        return None
    alone, last = split_budget(draws, p0, alpha), split_budget(draws, p0, alpha / 2)
    return EarlyPass(
        look_at=early,
        alpha_image_early=split_budget(early, p0, alpha / 2).alpha_image,
        alpha_image=last.alpha_image,
        allowed=max(last.allowed, 0),
        alpha_image_without=alone.alpha_image,
        allowed_without=max(alone.allowed, 0),
    )


def _group(
    policy: Policy,
    key: GroupKey,
    n: int,
    shifts: Sequence[str],
    alpha: float,
    clusters: NDArray[np.float64] | None,
) -> GroupPlan:
    required = Requirement.of(policy, key, shifts, alpha, clusters)
    judged, power = n >= required.judged_from, None
    if judged and clusters is None:
        region = rejection_region(n, required.limit, alpha)
        first, second = (region.power(share / 2, share / 2) for share in CHANGED)
        power = (first, second)
    return GroupPlan(
        level=key[0],  # type: ignore[arg-type]
        group=key[1],
        n=n,
        limit=required.limit,
        judged=judged,
        needed_n=required.needed,
        provable=float(-np.expm1(np.log(alpha) / n)) if n else 1.0,
        power=power,
        critical=policy.is_critical(*key),
        blocks=not judged and policy.must_be_judged(*key),
    )


def _too_few_draws(policy: Policy, used: int, draws: int) -> list[str]:
    found, cheapest = [], smallest_passing_draws(policy.p0, policy.alpha, policy.sampling)
    if used < cheapest:
        found.append(
            f"{plural(used, 'draw')} cannot show that at most {100 * policy.p0:g} % of draws are "
            f"bad, even if all are good: {cheapest} can."
        )
    if draws < policy.draws:
        found.append(f"policy presets {policy.draws} draws, calibration makes {draws}.")
    return found


def _too_small(groups: Sequence[GroupPlan]) -> list[str]:
    found = [
        f"{group.name} is critical, and its {group.n} samples cannot be judged: "
        f"{group.needed_n} are needed for {points(group.limit)}; they could show "
        f"{points(group.provable)}."
        for group in groups
        if group.critical and not group.judged
    ]
    found += [
        f"the average's {group.n} samples cannot show {points(group.limit)}; they could "
        f"show {points(group.provable)}."
        for group in groups
        if group.level == "average" and group.blocks
    ]
    named = [group for group in groups if group.blocks and group.left_out and not group.critical]
    found += [
        f"{group.name} has {plural(group.n, 'image')} and needs {group.needed_n:,} for "
        f"{points(group.limit)}; add images, or name it in worst_case_check.allow_not_judged."
        for group in named[:MOST_NAMED]
    ]
    if len(named) > MOST_NAMED:
        found.append(f"{len(named) - MOST_NAMED:,} other classes or segments are too small too.")
    if groups and not any(group.judged for group in groups):
        found.append("no group has enough samples for its limit, so nothing would be judged.")
    return found


def _unprovable(groups: Sequence[GroupPlan]) -> tuple[str, ...]:
    levels: dict[str, list[GroupPlan]] = {}
    for group in groups:
        levels.setdefault(group.level, []).append(group)
    nearest = [
        min(own, key=lambda group: group.needed_n - group.n)
        for own in levels.values()
        if not any(group.judged for group in own)
    ]
    return tuple(
        f"{best.name} comes nearest, with {best.n} of the {best.needed_n} samples that its limit "
        f"of {points(best.limit)} needs; they could show {points(best.provable)}."
        for best in nearest
    )


def _squared_reach(alpha: float) -> float:
    """Standard errors between limit and drop that a test of this level needs, squared."""
    return float((special.ndtri(POWER) - special.ndtri(alpha)) ** 2)


def samples_to_decide(lost: float, gained: float, n: int, limit: float, alpha: float) -> int:
    """About how many samples a group needs until its test at level ``alpha`` decides.

    Losses and gains were observed on ``n`` samples, and may be means over draws.

    Returns:
        Samples in total, more than ``n``, with power 0.9 if the observed rates are the true ones.
        Where the observed drop lies within half a sample of its limit the number is that of half a
        sample's distance.
    """
    drop = (lost - gained) / n
    distance = max(abs(limit - drop), 0.5 / n)
    # Half an answer each, so that rates never seen are not taken for zero.
    variance = (lost + gained + 1) / (n + 1) - drop**2
    needed = int(np.ceil(_squared_reach(alpha) * max(variance, 1e-9) / distance**2))
    return max(needed, needed_samples(limit, alpha), n + max(1, n // 10))


def samples_to_show(flips: float, limit: float, alpha: float) -> int:
    """About how many samples show, with power 0.9, that a model without a net drop keeps a limit.

    ``flips`` is the share of answers that differ from the float model's.

    Example:
        >>> samples_to_show(flips=0.02, limit=0.03, alpha=0.05)
        191
    """
    needed = int(np.ceil(_squared_reach(alpha) * flips / limit**2))
    return max(needed, needed_samples(limit, alpha))
