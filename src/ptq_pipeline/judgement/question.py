"""What is asked of audit images, fixed before any quantized outcome by ONE function.

Verdict, quick looks, `until_refused`, settling, stages and the plan fix it here, so none of them
judges other cells than the verdict, or at another level: the cells and which of them are judged,
the level that the ledger leaves, its split between images and draws, the budget of FAIL, and what
keeps it from a PASS whatever the outcomes are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.group_ids import GroupKey
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.core.handed_on import HandedOn
from ptq_pipeline.judgement.cells import Cells, Clusters, Counts, build_cells
from ptq_pipeline.judgement.judged_groups import UnjudgedGroup, keep_groups, unjudged_groups
from ptq_pipeline.judgement.judging import Judged, above_floor, judge
from ptq_pipeline.judgement.ledger import Asking
from ptq_pipeline.judgement.openings import Opener, Opening
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.statistics.anytime import FailBudget, fail_budget
from ptq_pipeline.statistics.draws import DrawSplit, split_budget

# What of a policy decides whether something passes; the rest may change without another look.
DECIDING = frozenset(
    "alpha p0 draws limits critical allow_not_judged float_floor representatives evaluation".split()
)


@dataclass(frozen=True, eq=False)
class QuestionBasis(HandedOn):
    """What a question is fixed from.

    Attributes:
        counted: ``split``, ``shift``, ``level``, ``group``, ``n`` of every cell, also other rows.
        floats: The float model's counts in given cells; None where its answers are not known yet.
        clusters: Groups that hold several samples of one cluster.
        sizes: Audit samples of every group that exists.
        classes: Classes of the model.
        only: The groups of a quick look; all of them when empty.
        named: What else identifies the question and its look: a pair for the ledger.
    """

    counted: pd.DataFrame
    floats: Callable[[Cells], Counts] | None
    clusters: Clusters
    sizes: Mapping[GroupKey, int]
    classes: int
    only: Collection[GroupKey] = ()
    named: tuple[Mapping[str, Any], Mapping[str, Any]] = field(default=({}, {}))

    @classmethod
    def of_groups(
        cls,
        seen: Mapping[str, Groups],
        groups: Groups,
        only: Collection[GroupKey] = (),
        **more: Any,
    ) -> QuestionBasis:
        """From the groups that are ``seen`` under each shift or condition; no outcome is needed."""
        counted = pd.concat(
            keep_groups(under.counts("audit"), list(only)).assign(split="audit", shift=name)
            for name, under in seen.items()
        )
        sizes, clusters = groups.every_size(only), groups.cluster_sizes
        return cls(counted, more.pop("floats", None), clusters, sizes, groups.classes, only, **more)


@dataclass(frozen=True, eq=False)
class Question(HandedOn):
    """What is asked.

    Attributes:
        policy: At the level that this look may spend.
        opening: Its place in the ledger, and what that leaves.
        cells: The cells, and which are judged.
        split: Budget of PASS for the distinct preset draws.
        budget: Budget of FAIL.
        unjudged: Groups that are not judged.
        quick: Whether only some groups are judged, so that PASS is impossible.
    """

    policy: Policy
    opening: Opening
    cells: Cells
    split: DrawSplit
    budget: FailBudget
    unjudged: tuple[UnjudgedGroup, ...]
    quick: bool

    @property
    def blocked(self) -> bool:
        """Whether PASS is impossible whatever the outcomes are."""
        return self.opening.refused or self.quick or any(each.blocks for each in self.unjudged)

    def judge_draws(self, counts: Counts) -> Judged:
        """Judge draws, at the level of a draw's tests."""
        return judge(counts, self.cells, self.split.alpha_image, self.budget.alpha_images)


def fix_question(
    audited: QuestionBasis,
    policy: Policy,
    draws: int,
    opener: Opener | None,
    *,
    complete: bool = True,
    enter: bool = True,
) -> Question:
    """Fix what is asked, and enter it in the ledger before any outcome is looked at.

    A look that cannot PASS, by counts and the float model's answers alone, spends nothing.

    Args:
        audited: What it is fixed from.
        policy: The policy.
        draws: Distinct preset draws; 0 where one model is judged without any.
        opener: The ledger; None keeps none.
        complete: Whether as many sets were accepted as policy presets.
        enter: False only foresees the entry.
    """
    if opener is None:
        return _fixed(audited, Opening("recipe", policy, policy), draws)
    made = opener.enter if enter else opener.foresee
    question, look = audited.named
    look = {**_look(audited, policy), **look, "distinct": draws, "selection": opener.selection}
    asking = Asking("recipe", question, look, 1 / policy.ledger.looks)
    foreseen = Opening.of("recipe", policy, opener.foresee(asking), can_pass=True)
    tried = _fixed(audited, foreseen, draws)
    can_pass = complete and _can_pass(tried, draws)
    if not can_pass:
        asking = Asking("recipe", question, look)
    opening = Opening.of("recipe", policy, made(asking), can_pass)
    return _fixed(audited, opening, draws)


def _can_pass(question: Question, draws: int) -> bool:
    possible = (question.split.pass_possible or not draws) and bool(question.cells.judged.any())
    return possible and not question.quick and not any(each.blocks for each in question.unjudged)


def _fixed(audited: QuestionBasis, opening: Opening, draws: int) -> Question:
    spending, policy = opening.policy, opening.asked
    split = split_budget(max(draws, 1), spending.p0, spending.alpha, spending.sampling)
    # Of one model without draws only the candidate's claim is made, at its own level.
    level = split.alpha_image if draws else spending.alpha
    cells = build_cells(audited.counted, spending, level, audited.clusters)
    floats = None if audited.floats is None else audited.floats(cells)
    if floats is not None:
        # Whether the float model has something to lose does not depend on what was asked before.
        cells = above_floor(cells, floats, policy, audited.classes)
    return Question(
        policy=spending,
        opening=opening,
        cells=cells,
        split=split,
        budget=fail_budget(policy.p0, policy.alpha_fail, policy.draws),
        unjudged=unjudged_groups(cells, spending, level, floats, audited.sizes),
        quick=bool(audited.only),
    )


def _look(audited: QuestionBasis, policy: Policy) -> dict[str, Any]:
    """What decides what can pass, beside the images: the policy's part, groups and their counts."""
    own = audited.counted[audited.counted["split"] == "audit"]
    cells = (
        own[["shift", "level", "group", "n"]]
        .drop_duplicates()
        .sort_values(["shift", "level", "group"])
    )
    rows = [[*map(str, row[:3]), int(row[3])] for row in cells.itertuples(index=False, name=None)]
    deciding = {key: value for key, value in policy.to_json().items() if key in DECIDING}
    return {
        "draws": policy.draws,
        "policy": canonical_hash(deciding),
        "cells": canonical_hash(rows),
    }
