"""What a verdict speaks of: all groups but those that are not judged, or a few in a quick look.

Too few images to show a group *good* are no acquittal. A class or a named segment that cannot be
judged blocks PASS unless policy allows it by name (``allow_not_judged``); so do the average and
critical groups, always. Intersections are displayed and block nothing.

The few groups of a quick look are chosen by the float model's answers on ``pool`` and ``selection``
only, so the audit images stay fresh for what they are asked. The choice can miss the group that
quantization hurts most: a quick look can refuse a recipe, it cannot pass one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from ptq_pipeline.core.documents import Count, Document, Share
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import (
    AVERAGE_GROUP,
    NAMED_LEVELS,
    CellKey,
    GroupDefinitions,
    GroupDocument,
    GroupKey,
    class_ids,
    segment_ids,
)
from ptq_pipeline.judgement.cells import Cells, Counts, Requirement
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.sentences import Reason, Sentence, Subject, place_value, say

MOST_NAMED = 4
CHOOSING_SPLITS = ("pool", "selection")


class FloorCell(Document):
    """A shift under which the float model of a group is not shown to be above its floor."""

    shift: str
    n: Count
    float_accuracy: Share
    float_floor: Share


class UnjudgedGroup(GroupDocument):
    """A group that is displayed but not judged under every shift.

    Attributes:
        n: Audit samples, the fewest under any shift.
        needed_n: Samples from which on it would be judged.
        limit: Its strictest limit, a fraction.
        blocks: Whether there is no PASS while it is not judged.
        allowed: Whether policy lets it be left out by name.
        at_floor: Shifts under which the float model is too poor to lose anything; where there is
            none, images are too few.
    """

    added: ClassVar[frozenset[str]] = frozenset({"blocks", "allowed", "at_floor"})

    n: Count
    needed_n: Count
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
        named = place_value(self.key)
        sentence = say(rule, group=named, n=self.n, needed=self.needed_n, **said)
        return Reason.of(rule, subject, sentence, self.key, limit=self.limit, n=self.n)

    def reasons(self, subject: Subject, destroyed: set[str]) -> Iterator[Reason]:
        """Yield why there is no PASS while it is not judged.

        A shift in ``destroyed``, under which the average itself is at its floor, is a reason of
        the average, not one of each group.
        """
        if self.too_few:
            yield self.reason(
                "critical_not_judged" if self.critical else "group_not_judged", subject
            )
        for cell in self.at_floor:
            if cell.shift in destroyed and self.level != "average":
                continue
            place = CellKey(*self.key, cell.shift)
            accuracy, floor = cell.float_accuracy, cell.float_floor
            named = place_value(place)
            sentence = say("float_floor", cell=named, n=cell.n, accuracy=accuracy, floor=floor)
            figures = {"observed": accuracy, "limit": floor, "n": cell.n}
            yield Reason.of("float_floor", subject, sentence, place, **figures)

    @property
    def words(self) -> dict[str, Any]:
        """Its part of a sentence, with what it has and needs."""
        worst = min(self.at_floor, key=lambda each: each.float_accuracy, default=None)
        floored = None if self.too_few else worst
        return {
            **place_value(self.key),
            "n": self.n,
            "needed": self.needed_n,
            "shift": floored.shift if floored else None,
            "accuracy": floored.float_accuracy if floored else None,
            "allowed": self.allowed,
        }


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
    # A group may hold fewer samples under one shift than under another; the smallest one counts.
    found: dict[GroupKey, int] = {}
    floors: dict[GroupKey, list[FloorCell]] = {}
    for i in np.flatnonzero(~cells.judged):
        key, n = cells.keys[i], int(cells.n[i])
        found[key.of] = min(n, found.get(key.of, n))
        if cells.at_floor is not None and cells.at_floor[i] and audit is not None:
            accuracy, floor = float(audit.float_accuracy[i]), float(cells.float_floor[i])
            cell = FloorCell(shift=key.shift, n=n, float_accuracy=accuracy, float_floor=floor)
            floors.setdefault(key.of, []).append(cell)
    if cells.shifts:
        sizes, scored = sizes or {}, {key.of for key in cells.keys}
        named = (*(each.key for each in policy.critical), *sizes)
        missing = (key for key in named if key not in scored)
        found |= {
            key: sizes.get(key, 0)
            for key in missing
            if policy.is_critical(*key) or key[0] in NAMED_LEVELS
        }
    return tuple(
        _unjudged(cells, policy, alpha_image, key, n, tuple(floors.get(key, ())))
        for key, n in found.items()
    )


def _unjudged(
    cells: Cells,
    policy: Policy,
    alpha: float,
    key: GroupKey,
    n: int,
    at_floor: tuple[FloorCell, ...],
) -> UnjudgedGroup:
    required = Requirement.of(policy, key, cells.shifts, alpha, cells.clusters.get(key))
    return UnjudgedGroup(
        level=key[0],  # type: ignore[arg-type]
        group=key[1],
        n=n,
        needed_n=required.needed,
        limit=required.limit,
        critical=policy.is_critical(*key),
        blocks=policy.must_be_judged(*key),
        allowed=policy.allows_not_judged(*key),
        at_floor=at_floor,
    )


def not_judged_line(groups: Sequence[UnjudgedGroup]) -> Sentence | None:
    """Name the classes and segments that are not judged, those that block PASS first."""
    named = sorted((each for each in groups if each.named), key=lambda each: not each.blocks)
    if not named:
        return None
    shown = [each.words for each in named[:MOST_NAMED]]
    if len(named) <= MOST_NAMED:
        return say("not_judged.all", groups=shown)
    return say("not_judged.some", groups=shown, more=len(named) - MOST_NAMED)


def not_judged_reasons(groups: Sequence[UnjudgedGroup], subject: Subject) -> list[Reason]:
    """Why there is no PASS while these groups are not judged."""
    destroyed = {cell.shift for each in groups if each.level == "average" for cell in each.at_floor}
    blocking = (each for each in groups if each.blocks)
    return [reason for each in blocking for reason in each.reasons(subject, destroyed)]


def settle_not_judged(groups: Sequence[UnjudgedGroup]) -> list[Sentence]:
    """What would let these groups be judged, or a PASS do without them."""
    blocking = [each for each in groups if each.blocks]
    few = [each for each in blocking if each.too_few]
    found = [
        say("settle.group_samples", more=each.needed_n - each.n, group=place_value(each.key))
        for each in few[:MOST_NAMED]
    ]
    if len(few) > MOST_NAMED:
        found.append(say("settle.other_groups", some=len(few) - MOST_NAMED))
    if any(not each.critical and each.level in NAMED_LEVELS for each in blocking):
        found.append(say("settle.allow_not_judged"))
    shifts = dict.fromkeys(cell.shift for each in blocking for cell in each.at_floor)
    return found + [say("settle.float_floor", shift=shift) for shift in shifts]


class Representative(GroupDocument):
    """One chosen group of a quick look.

    ``value`` is the float model's accuracy or mean margin on ``n`` samples of ``pool`` and
    ``selection``, or their share; None for the average and for critical groups.
    """

    why: Literal["average", "critical", "lowest_accuracy", "smallest_margin", "most_frequent"]
    value: float | None
    n: Count


def propose_representatives(
    samples: pd.DataFrame,
    profiles: pd.DataFrame,
    definitions: GroupDefinitions,
    policy: Policy,
) -> tuple[Representative, ...]:
    """Choose groups by what the float model does on ``pool`` and ``selection``.

    Args:
        samples: ``sample_id``, ``split``, ``label`` and the segment columns.
        profiles: ``sample_id``, ``predicted`` and ``margin`` of the float model.
        definitions: All groups that there can be.
        policy: How many groups of each kind, and which are critical.

    Returns:
        The groups, none twice; empty where policy asks for none, which means all groups.

    Raises:
        InputError: If no sample of these splits has a profile.
    """
    wanted = policy.representatives
    if wanted is None:
        return ()
    known = profiles[["sample_id", "predicted", "margin"]]
    used = samples[samples["split"].isin(CHOOSING_SPLITS)].merge(known, on="sample_id")
    if used.empty:
        raise InputError(
            "profiles: no sample of split 'pool' or 'selection' has one, so no representative "
            "group can be proposed; run data_loading, or leave out `representatives`."
        )
    table = _table(used, definitions)
    found: dict[GroupKey, tuple[str, float | None, int]]
    found = {("average", AVERAGE_GROUP): ("average", None, len(used))}
    found |= {each.key: ("critical", None, 0) for each in policy.critical}
    for why, column, ascending, count in (
        ("lowest_accuracy", "accuracy", True, wanted.lowest_accuracy),
        ("smallest_margin", "margin", True, wanted.smallest_margin),
        ("most_frequent", "share", False, wanted.most_frequent),
    ):
        order = table.sort_values([column, "level", "group"], ascending=[ascending, True, True])
        free = order[[key not in found for key in zip(order["level"], order["group"], strict=True)]]
        chosen = free.head(count)[["level", "group", column, "n"]].itertuples(index=False)
        found |= {(level, group): (why, value, n) for level, group, value, n in chosen}
    keys = tuple(Representative.model_fields)
    return tuple(
        Representative.model_validate(dict(zip(keys, (*key, *said), strict=True)))
        for key, said in found.items()
    )


def keep_groups(scores: pd.DataFrame, chosen: Sequence[GroupKey]) -> pd.DataFrame:
    """Scores of the chosen groups only; all of them where none was chosen."""
    if not chosen:
        return scores
    keys = pd.MultiIndex.from_frame(scores[["level", "group"]].astype(str))
    return scores[keys.isin(list(chosen))].reset_index(drop=True)


def _table(used: pd.DataFrame, definitions: GroupDefinitions) -> pd.DataFrame:
    """Accuracy, margin and share of every class and segment value."""
    labels = np.array([each.label for each in class_ids(definitions.classes)], dtype=object)
    parts = [("class", pd.Series(labels[used["label"]], used.index))]
    for column, values in definitions.columns().items():
        names = {each.values[0]: each.label for each in segment_ids(column, values)}
        parts.append(("segment", used[column].map(names)))
    used = used.assign(right=used["predicted"] == used["label"])
    rows = [
        (level, name, len(part), part["right"].mean(), part["margin"].mean(), len(part) / len(used))
        for level, group in parts
        for name, part in used.groupby(group, sort=True)
    ]
    return pd.DataFrame(rows, columns=["level", "group", "n", "accuracy", "margin", "share"])
