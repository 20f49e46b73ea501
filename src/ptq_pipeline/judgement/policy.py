"""The policy of the worst-case check: what may be lost where, and at which error.

People set limits in *points* (percentage points of accuracy); everything that computes reads them
as fractions through :meth:`Policy.limit`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import LEVELS, NAMED_LEVELS, GroupKey, Level
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.overlays import WITHOUT_NULL
from ptq_pipeline.judgement.limits import AllowedGroup, CriticalGroup, FloatFloor, Limits
from ptq_pipeline.statistics.draws import split_budget
from ptq_pipeline.statistics.sampling import EVERYTHING, Sampling

# Two draws find the images that flip in others too.
SAMPLED = Sampling(full=2, error=0.2)


class Obligation(Document):
    """What is owed to somebody outside, e.g. a customer, about one group.

    Attributes:
        contract_floor: Accuracy promised for the group, in points; null for none.
        notice_required: Whether they must be told before another model answers for the group.
        shifts: Under which the promise is checked.
    """

    to: Annotated[str, Field(min_length=1)]
    level: Level
    group: str
    contract_floor: Annotated[float, Field(gt=0, le=100)] | None = None
    notice_required: bool = False
    shifts: Annotated[tuple[str, ...], Field(min_length=1)] = (CLEAN,)

    @property
    def key(self) -> GroupKey:
        """The group."""
        return self.level, self.group

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        if self.contract_floor is None and not self.notice_required:
            raise ValueError(
                f"The obligation to '{self.to}' about {self.level} '{self.group}' asks for "
                "nothing: give a contract_floor or notice_required."
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """What its parts are acknowledged by, one per kind and shift."""
        kinds = (self.contract_floor is not None) * ["contract_floor"]
        kinds += self.notice_required * ["notice_required"]
        return tuple(
            obligation_name(self.to, kind, self.level, self.group, shift)
            for kind in kinds
            for shift in self.shifts
        )


def obligation_name(to: str, kind: str, level: str, group: str, shift: str) -> str:
    """What one part of an obligation is called; a policy refuses two of the same name."""
    return f"{to}: {kind} {level} {group} {shift}"


LedgerRule = Literal["spend", "divide", "warn", "fresh"]


class LedgerPolicy(Document):
    """What it costs that audit images are asked more than once.

    Attributes:
        rule: What a question to images that were asked before may spend. ``warn`` says how many
            there were; ``spend`` gives the j-th one the level ``6 alpha / (pi^2 j^2)``; ``divide``
            gives each of the first ``questions`` the same part of alpha, and those after them
            none; ``fresh`` lets only the first one PASS.
        questions: How many questions ``divide`` allows.
        looks: How many looks at one question may PASS, each at its part of the question's level:
            with other draws, groups, limits, shifts or audit images. A look beyond them cannot.
    """

    added: ClassVar[frozenset[str]] = frozenset({"questions", "looks"})

    rule: LedgerRule = "warn"
    questions: Annotated[int, Field(ge=1)] = 5
    looks: Annotated[int, Field(ge=1)] = 1

    def part(self, index: int) -> float:
        """The part of alpha that the ``index``-th question may spend.

        Examples:
            >>> LedgerPolicy(rule="divide", questions=4).part(4)
            0.25
        """
        if self.rule == "spend":
            return 6 / (math.pi * index) ** 2
        if self.rule == "divide":
            return 1 / self.questions if index <= self.questions else 0.0
        return 0.0 if self.rule == "fresh" and index > 1 else 1.0


class RepresentativePolicy(Document):
    """How many classes and segments stand for all in a quick look; see :mod:`.judged_groups`.

    First those that the float model gets wrong most often; of the rest those that it is least sure
    of, and then those with most samples.
    """

    lowest_accuracy: Annotated[int, Field(ge=0)] = 3
    smallest_margin: Annotated[int, Field(ge=0)] = 2
    most_frequent: Annotated[int, Field(ge=0)] = 1


class Policy(Document):
    """What counts as good enough, and how sure one must be.

    Attributes:
        alpha: Error of PASS, for the recipe and for the candidate each.
        alpha_fail: Error of FAIL, for the recipe and for the candidate each.
        p0: Largest acceptable share of bad draws.
        draws: Preset number of draws K at which the recipe may PASS.
        evaluation: How the recipe's draws are evaluated: all in full, or all but the first by their
            risky images and a sample of the others, a PASS of its own with the same error. The
            candidate is evaluated in full.
        allow_not_judged: Classes and segments that a PASS may leave out when they cannot be
            judged; all others must be.
        float_floor: What the float model must exceed for a group to be judged.
        champion_tolerance: What a group may lose against the version that serves today; the limits
            when it is left out.
        obligations: A release touching one asks for a recorded acknowledgement.
        ledger: What the re-use of audit images costs.
        representatives: Judge a few groups only, as a quick look; null judges all of them. Such a
            look can refuse a recipe and cannot pass one, so its draws must be too few for PASS.
        class_priors: Other mixes of classes, by name: a weight for every class. The candidate's
            drop under them is shown with bounds of its own; it is not judged.
    """

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    alpha_fail: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    p0: Annotated[float, Field(gt=0, lt=1)] = 0.1
    draws: Annotated[int, Field(ge=1)] = 50
    evaluation: Literal["full", "sampled"] = "full"
    limits: Limits
    critical: tuple[CriticalGroup, ...] = ()
    allow_not_judged: tuple[AllowedGroup, ...] = ()
    float_floor: FloatFloor = FloatFloor()
    champion_tolerance: Limits | None = None
    obligations: tuple[Obligation, ...] = ()
    ledger: LedgerPolicy = LedgerPolicy()
    representatives: RepresentativePolicy | None = None
    class_priors: Annotated[dict[str, Annotated[dict[str, float], WITHOUT_NULL]], WITHOUT_NULL] = (
        Field(default_factory=dict)
    )

    @model_validator(mode="after")
    def _say_sampled_only(self) -> Self:
        # So that a policy in full has the hash that it always had.
        if self.evaluation == "full":
            self.model_fields_set.discard("evaluation")
        return self

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        # The average is a mean of the classes' drops, so it keeps any limit that all of them keep.
        average, class_ = self.limits.average, self.limits.class_
        shifts = {*average.shifts, *class_.shifts}
        for shift in (None, *sorted(shifts)):
            if (loose := average.under(shift)) > (strict := class_.under(shift)):
                where = "" if shift is None else f" under {shift}"
                raise ValueError(
                    f"limits contradict each other: the average may lose {loose:g} points{where}, "
                    f"but no class more than {strict:g}; the average cannot lose more than every "
                    "class."
                )
        return self

    @model_validator(mode="after")
    def _check_quick_look(self) -> Self:
        split = split_budget(self.draws, self.p0, self.alpha, self.sampling)
        quick = self.representatives is not None
        # No look has more than the first one at the first question.
        most = self.alpha * self.ledger.part(1) / self.ledger.looks
        first = split_budget(self.draws, self.p0, most, self.sampling)
        if self.evaluation == "sampled" and (quick or not first.pass_possible):
            raise ValueError(
                f"evaluation: sampled is for a PASS, which needs every group and, at the "
                f"{100 * most:.2g} % that the ledger leaves to a look, {first.needed_draws} draws; "
                "leave representatives out and raise draws, or write evaluation: full."
            )
        if quick and split.pass_possible:
            raise ValueError(
                f"representatives are for a quick look of fewer than {split.needed_draws} draws, "
                f"not for {self.draws}: a PASS needs every group; leave representatives out or "
                "lower draws."
            )
        return self

    @model_validator(mode="after")
    def _check_obligations(self) -> Self:
        names = [name for owed in self.obligations for name in owed.names]
        if twice := _named_twice(names):
            raise ValueError(
                f"Two obligations are both called '{twice}': an acknowledgement could not tell "
                "them apart; merge them, or write `to` differently."
            )
        return self

    @model_validator(mode="after")
    def _check_critical(self) -> Self:
        if twice := _named_twice([group.key for group in self.critical]):
            raise ValueError(f"Critical group {twice[0]} '{twice[1]}' is named twice.")
        for group in self.critical:
            if self.allows_not_judged(*group.key):
                raise ValueError(
                    f"{group.level} '{group.group}' is critical, so it must be judged, and "
                    "allow_not_judged names it too: take it out of one of them."
                )
            level = self.limits.of(group.level)
            for shift in (None, *group.shifts, *level.shifts):
                own, common = group.under(shift), level.under(shift)
                if own is not None and own > common:
                    where = f" under {shift}" if shift else ""
                    raise ValueError(
                        f"Critical group {group.level} '{group.group}' has a limit of {own} points"
                        f"{where}, looser than the {common} points of its level: lower it or leave "
                        "it out."
                    )
        return self

    @property
    def sampling(self) -> Sampling:
        """Which draws are evaluated in full, and what a sample of another may err."""
        return SAMPLED if self.evaluation == "sampled" else EVERYTHING

    def limit(self, level: str, group: str, shift: str) -> float:
        """Limit of one group under one shift, as a fraction."""
        own = [each.under(shift) for each in self.critical if each.key == (level, group)]
        given = [points for points in own if points is not None]
        return (given[0] if given else self.limits.of(level).under(shift)) / 100

    def strictest_limit(self, level: str, group: str, shifts: Iterable[str]) -> float:
        """Smallest limit of a group over the shifts, as a fraction."""
        return min(self.limit(level, group, shift) for shift in shifts)

    def is_critical(self, level: str, group: str) -> bool:
        """Whether policy names the group critical."""
        return any(each.key == (level, group) for each in self.critical)

    def allows_not_judged(self, level: str, group: str) -> bool:
        """Whether policy lets a group be left out by name."""
        return any(each.key == (level, group) for each in self.allow_not_judged)

    def must_be_judged(self, level: str, group: str) -> bool:
        """Whether there is no PASS while a group is not judged."""
        if level == "average" or self.is_critical(level, group):
            return True
        return level in NAMED_LEVELS and not self.allows_not_judged(level, group)

    def check_names(self, groups: Mapping[str, Sequence[str]], shifts: Sequence[str]) -> None:
        """Check that every group, class and shift that it names exists.

        ``groups`` are by level; values of control columns count as shifts.

        Raises:
            InputError: Naming what does not exist, and what does.
        """
        for mix in self.class_priors.values():
            class_shares(mix, groups.get("class", ()))
        if twice := _named_twice(shifts):
            raise InputError(
                f"stress: a shift and the value of a control column are both called '{twice}'; "
                "rename the shift."
            )
        limits = [each for each in (self.limits, self.champion_tolerance) if each is not None]
        named = {s for by_level in limits for level in LEVELS for s in by_level.of(level).shifts}
        named |= {shift for each in self.critical for shift in each.shifts}
        named |= {shift for each in self.obligations for shift in each.shifts}
        if unknown := sorted(named - set(shifts)):
            raise InputError(
                f"worst_case_check: limits name unknown shift {_listed(unknown)}; "
                f"the shifts are {_listed(shifts)}."
            )
        named_groups = [("critical", each.key) for each in self.critical]
        named_groups += [("allow_not_judged", each.key) for each in self.allow_not_judged]
        named_groups += [(f"obligations (to '{each.to}')", each.key) for each in self.obligations]
        for setting, (level, group) in named_groups:
            existing = groups.get(level, ())
            if group not in existing:
                raise InputError(
                    f"worst_case_check.{setting}: there is no {level} '{group}'; the groups of "
                    f"that level are {_listed(existing) or 'none'}."
                )


def class_shares(mix: Mapping[str, float], classes: Sequence[str]) -> NDArray[np.float64]:
    """Shares of the ``classes`` in a mix of weights, adding up to 1, shape (classes,).

    Raises:
        InputError: For a class that is unknown or missing, or a weight that is no weight.
    """
    if unknown := sorted(set(mix) - set(classes)):
        raise InputError(
            f"worst_case_check.class_priors: unknown class '{unknown[0]}'; the classes are "
            f"{', '.join(classes)}."
        )
    if missing := [name for name in classes if name not in mix]:
        raise InputError(
            f"worst_case_check.class_priors: class '{missing[0]}' has no weight; give every class "
            "one."
        )
    weights = np.array([mix[name] for name in classes], dtype=np.float64)
    if not np.all(np.isfinite(weights)) or weights.min() < 0 or weights.sum() <= 0:
        wrong = classes[int(np.argmin(np.where(np.isfinite(weights), weights, -np.inf)))]
        raise InputError(
            f"worst_case_check.class_priors: the weight of '{wrong}' is {mix[wrong]}; weights "
            "are numbers of at least 0, and one is larger."
        )
    return weights / weights.sum()


def _named_twice(names: Sequence[Any]) -> Any:
    return next((name for i, name in enumerate(names) if name in names[:i]), None)


def _listed(names: Sequence[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return ", ".join(quoted[:12]) + (", ..." if len(quoted) > 12 else "")
