"""Groups that are not judged: which, why, and whether a PASS may leave them out.

Too few images to show a group *good* are no acquittal. A class or a named segment that cannot be
judged blocks PASS unless policy allows it by name (``allow_not_judged``); so do the average and
critical groups, always. Intersections are displayed and block nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ptq_pipeline.core.documents import Count, Document, Share
from ptq_pipeline.core.group_ids import NAMED_LEVELS, CellKey, GroupKey, Level
from ptq_pipeline.judgement.cells import Cells, Counts, needed_in_samples
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.reasons import Reason, Subject
from ptq_pipeline.judgement.sentences import Sentence, place_value, say
from ptq_pipeline.statistics.betting import clusters_needed

MOST_NAMED = 4


class FloorCell(Document):
    """A shift under which the float model of a group is not shown to be above its floor.

    Attributes:
        shift: The shift.
        n: Audit samples.
        float_accuracy: Observed accuracy of the float model, a fraction.
        float_floor: What it was not shown to exceed, a fraction.
    """

    shift: str
    n: Count
    float_accuracy: Share
    float_floor: Share


class UnjudgedGroup(Document):
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

    added: ClassVar[frozenset[str]] = frozenset({"blocks", "allowed", "at_floor"})

    level: Level
    group: str
    n: Count
    needed_n: Count
    limit: float
    critical: bool
    blocks: bool = False
    allowed: bool = False
    at_floor: tuple[FloorCell, ...] = ()

    @property
    def key(self) -> GroupKey:
        """The group."""
        return self.level, self.group

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
        named = place_value(self.key)
        sentence = say(rule, group=named, n=self.n, needed=self.needed_n, **said)
        return Reason.of(rule, subject, sentence, self.key, limit=self.limit, n=self.n)


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
    shifts = cells.shifts
    known = {key.of for key in cells.keys}
    # A group may hold fewer samples under one shift than under another; the smallest one counts.
    smallest: dict[GroupKey, int] = {}
    floors: dict[GroupKey, list[FloorCell]] = {}
    for i in np.flatnonzero(~cells.judged):
        key, n = cells.keys[i].of, int(cells.n[i])
        smallest[key] = min(n, smallest.get(key, n))
        if cells.at_floor is not None and cells.at_floor[i] and audit is not None:
            accuracy, floor = float(audit.float_accuracy[i]), float(cells.float_floor[i])
            floors.setdefault(key, []).append(
                FloorCell(
                    shift=cells.keys[i].shift, n=n, float_accuracy=accuracy, float_floor=floor
                )
            )
    found = list(smallest.items())
    if shifts:
        sizes = dict(sizes or {})
        expected: list[GroupKey] = [(group.level, group.group) for group in policy.critical]
        expected += [key for key in sizes if key[0] in NAMED_LEVELS]
        found += [(key, sizes.get(key, 0)) for key in dict.fromkeys(expected) if key not in known]
    return tuple(
        UnjudgedGroup(
            level=key[0],  # type: ignore[arg-type]
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
    sizes = cells.clusters.get(key)
    if sizes is None:
        return single
    clusters = clusters_needed(policy.strictest_limit(*key, shifts), alpha)
    return max(single, int(np.ceil(clusters * sizes.mean())))


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
        **place_value(group.key),
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
            place = CellKey(*group.key, cell.shift)
            accuracy, floor = cell.float_accuracy, cell.float_floor
            named = place_value(place)
            sentence = say("float_floor", cell=named, n=cell.n, accuracy=accuracy, floor=floor)
            figures = {"observed": accuracy, "limit": floor, "n": cell.n}
            yield Reason.of("float_floor", subject, sentence, place, **figures)


def settle_not_judged(groups: Sequence[UnjudgedGroup]) -> list[Sentence]:
    """What would let these groups be judged, or a PASS do without them."""
    blocking = [each for each in groups if each.blocks]
    few = [each for each in blocking if each.too_few]
    found = [
        say(
            "settle.group_samples",
            more=each.needed_n - each.n,
            group=place_value(each.key),
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
