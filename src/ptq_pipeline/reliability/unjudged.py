"""Groups that are not judged: which, why, and whether a PASS may leave them out.

Too few images to show a group *good* are no acquittal. A class or a named segment that cannot be
judged blocks PASS unless policy allows it by name (``allow_not_judged``); so do the average and
critical groups, always. Intersections are displayed and block nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptq_pipeline.reliability.betting import clusters_needed
from ptq_pipeline.reliability.cells import Cells, Counts, needed_in_samples
from ptq_pipeline.reliability.group_ids import NAMED_LEVELS
from ptq_pipeline.reliability.policy import GroupKey, Policy
from ptq_pipeline.reliability.reasons import Reason, Subject
from ptq_pipeline.reliability.sentences import Sentence, cell_value, group_value, say

MOST_NAMED = 4


@dataclass(frozen=True)
class FloorCell:
    """A shift under which the float model of a group is not shown to be above its floor.

    Attributes:
        shift: The shift.
        n: Audit samples.
        float_accuracy: Observed accuracy of the float model, a fraction.
        float_floor: What it was not shown to exceed, a fraction.
    """

    shift: str
    n: int
    float_accuracy: float
    float_floor: float


@dataclass(frozen=True)
class UnjudgedGroup:
    """A group that is displayed but not judged under every shift.

    Attributes:
        level: Its level.
        group: Its name.
        n: Audit samples, the fewest under any shift.
        needed_n: Samples from which on it would be judged.
        limit: Its strictest limit, a fraction.
        critical: Whether policy names it critical.
        blocks: Whether there is no PASS while it is not judged.
        allowed: Whether policy lets it be left out by name.
        at_floor: Shifts under which the float model is too poor to lose anything; where there is
            none, images are too few.
    """

    level: str
    group: str
    n: int
    needed_n: int
    limit: float
    critical: bool
    blocks: bool = False
    allowed: bool = False
    at_floor: tuple[FloorCell, ...] = ()

    @property
    def named(self) -> bool:
        """Whether people must hear of it wherever the verdict is told."""
        return self.blocks or self.level in NAMED_LEVELS

    @property
    def too_few(self) -> bool:
        """Whether images are what is missing."""
        return self.n < self.needed_n or not self.at_floor

    def reason(self, rule: str, subject: Subject, **said: Any) -> Reason:
        """Say by a rule that it has too few images; ``said`` are further values of its sentence."""
        named = group_value(self.level, self.group)
        sentence = say(rule, group=named, n=self.n, needed=self.needed_n, **said)
        return Reason(rule, subject, sentence, self.level, self.group, limit=self.limit, n=self.n)


def unjudged_groups(
    cells: Cells,
    policy: Policy,
    alpha_image: float,
    audit: Counts | None = None,
    sizes: Mapping[GroupKey, int] | None = None,
) -> tuple[UnjudgedGroup, ...]:
    """Groups that are not judged, also those that were not even scored.

    Args:
        cells: The cells.
        policy: Limits, critical and allowed groups.
        alpha_image: Level of the tests of a draw.
        audit: Counts, for the float model's accuracy where it is at its floor.
        sizes: Audit samples of every group that exists, see :meth:`.Groups.sizes`; classes and
            segments that have none are found here.

    Returns:
        In the order of the cells; those without a cell last.
    """
    shifts = list(dict.fromkeys(cells.shift))
    known = set(zip(cells.level, cells.group, strict=True))
    # A group may hold fewer samples under one shift than under another; the smallest one counts.
    smallest: dict[GroupKey, int] = {}
    floors: dict[GroupKey, list[FloorCell]] = {}
    for i in np.flatnonzero(~cells.judged):
        key, n = (cells.level[i], cells.group[i]), int(cells.n[i])
        smallest[key] = min(n, smallest.get(key, n))
        if cells.at_floor is not None and cells.at_floor[i] and audit is not None:
            accuracy, floor = float(audit.float_accuracy[i]), float(cells.float_floor[i])
            floors.setdefault(key, []).append(FloorCell(cells.shift[i], n, accuracy, floor))
    found = list(smallest.items())
    if shifts:
        sizes = dict(sizes or {})
        expected: list[GroupKey] = [(group.level, group.group) for group in policy.critical]
        expected += [key for key in sizes if key[0] in NAMED_LEVELS]
        found += [(key, sizes.get(key, 0)) for key in dict.fromkeys(expected) if key not in known]
    return tuple(
        UnjudgedGroup(
            level=key[0],
            group=key[1],
            n=n,
            needed_n=_needed(cells, policy, key, shifts, alpha_image),
            limit=policy.strictest_limit(*key, shifts),
            critical=policy.is_critical(*key),
            blocks=policy.must_be_judged(*key),
            allowed=policy.allows_not_judged(*key),
            at_floor=tuple(floors.get(key, ())),
        )
        for key, n in found
    )


def _needed(
    cells: Cells, policy: Policy, key: GroupKey, shifts: Sequence[str], alpha: float
) -> int:
    """As for single samples; for clusters about as many as make enough of them."""
    single = needed_in_samples(policy, key, shifts, alpha)
    if key not in cells.cluster_sizes:
        return single
    clusters = clusters_needed(policy.strictest_limit(*key, shifts), alpha)
    return max(single, int(np.ceil(clusters * cells.cluster_sizes[key].mean())))


def not_judged_line(groups: Sequence[UnjudgedGroup]) -> Sentence | None:
    """Name the classes and segments that are not judged, with what they have and need.

    The first few stand in the sentence, those that block PASS first; all are in
    ``groups_not_judged``.
    """
    named = sorted((each for each in groups if each.named), key=lambda each: not each.blocks)
    if not named:
        return None
    shown = [_words(each) for each in named[:MOST_NAMED]]
    if len(named) <= MOST_NAMED:
        return say("not_judged.all", groups=shown)
    return say("not_judged.some", groups=shown, more=len(named) - MOST_NAMED)


def _words(group: UnjudgedGroup) -> dict[str, Any]:
    worst = min(group.at_floor, key=lambda each: each.float_accuracy, default=None)
    at_floor = worst is not None and not group.too_few
    return {
        **group_value(group.level, group.group),
        "n": group.n,
        "needed": group.needed_n,
        "shift": worst.shift if worst and at_floor else None,
        "accuracy": worst.float_accuracy if worst and at_floor else None,
        "allowed": group.allowed,
    }


def not_judged_reasons(groups: Sequence[UnjudgedGroup], subject: Subject) -> Iterator[Reason]:
    """Yield why there is no PASS while these groups are not judged.

    A shift under which the average itself is at its floor is one reason, not one for each group.
    """
    destroyed = {cell.shift for each in groups if each.level == "average" for cell in each.at_floor}
    for group in groups:
        if not group.blocks:
            continue
        if group.too_few:
            rule = "critical_not_judged" if group.critical else "group_not_judged"
            yield group.reason(rule, subject)
        for cell in group.at_floor:
            if cell.shift in destroyed and group.level != "average":
                continue
            accuracy, floor = cell.float_accuracy, cell.float_floor
            yield Reason(
                "float_floor",
                subject,
                say(
                    "float_floor",
                    cell=cell_value(group.level, group.group, cell.shift),
                    n=cell.n,
                    accuracy=accuracy,
                    floor=floor,
                ),
                *(group.level, group.group, cell.shift),
                observed=accuracy,
                limit=floor,
                n=cell.n,
            )


def settle_not_judged(groups: Sequence[UnjudgedGroup]) -> list[Sentence]:
    """What would let these groups be judged, or a PASS do without them."""
    blocking = [each for each in groups if each.blocks]
    few = [each for each in blocking if each.too_few]
    found = [
        say(
            "settle.group_samples",
            more=each.needed_n - each.n,
            group=group_value(each.level, each.group),
        )
        for each in few[:MOST_NAMED]
    ]
    if len(few) > MOST_NAMED:
        found.append(say("settle.other_groups", some=len(few) - MOST_NAMED))
    if any(not each.critical and each.level in NAMED_LEVELS for each in blocking):
        found.append(say("settle.allow_not_judged"))
    floored = [cell for each in blocking for cell in each.at_floor]
    shifts = dict.fromkeys(cell.shift for cell in floored)
    return found + [say("settle.float_floor", shift=shift) for shift in shifts]
