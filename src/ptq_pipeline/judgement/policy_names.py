"""Whether what a policy names exists in this audit: its groups, shifts and class mixes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import LEVELS
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.priors import target_shares


def check_policy(
    policy: Policy, groups: Mapping[str, Iterable[str]], shifts: Iterable[str]
) -> None:
    """Check that every group and shift named by the policy exists.

    Args:
        policy: The policy.
        groups: Existing groups by level.
        shifts: Existing shifts.

    Raises:
        InputError: Naming what does not exist, and what does.
    """
    for mix in policy.class_priors.values():
        target_shares(mix, list(groups.get("class", ())))
    shifts = list(shifts)
    if len(set(shifts)) < len(shifts):
        twice = next(name for name in shifts if shifts.count(name) > 1)
        raise InputError(
            f"stress: a shift and the value of a control column are both called '{twice}'; rename "
            "the shift."
        )
    named = {shift for level in LEVELS for shift in policy.limits.of(level).shifts}
    named |= {shift for critical in policy.critical for shift in critical.shifts}
    named |= {shift for obligation in policy.obligations for shift in obligation.shifts}
    if policy.champion_tolerance is not None:
        for level in LEVELS:
            named |= set(policy.champion_tolerance.of(level).shifts)
    if unknown := sorted(named - set(shifts)):
        raise InputError(
            f"worst_case_check: limits name unknown shift {_listed(unknown)}; "
            f"the shifts are {_listed(shifts)}."
        )
    named_groups = [("critical", each.level, each.group) for each in policy.critical]
    named_groups += [
        ("allow_not_judged", each.level, each.group) for each in policy.allow_not_judged
    ]
    named_groups += [
        (f"obligations (to '{each.to}')", each.level, each.group) for each in policy.obligations
    ]
    for setting, level, group in named_groups:
        existing = list(groups.get(level, ()))
        if group not in existing:
            raise InputError(
                f"worst_case_check.{setting}: there is no {level} '{group}'; the groups of that "
                f"level are {_listed(existing) or 'none'}."
            )


def _listed(names: Iterable[str]) -> str:
    names = [f"'{name}'" for name in names]
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
