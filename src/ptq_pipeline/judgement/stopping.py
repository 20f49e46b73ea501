"""May a study stop? What is judged is fixed before any draw, and then one draw after the other.

A draw may be looked at whole, or as far as it takes to know what the whole would show
(:mod:`.settling`). FAIL is valid after any draw, so later draws cannot change it; PASS and
INCONCLUSIVE follow where the draws that are left can change nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from ptq_pipeline.core.group_ids import CellKey, GroupKey
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.core.handed_on import HandedOn
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.core.tally import tally
from ptq_pipeline.judgement.cells import Cells, Counts, collect_counts
from ptq_pipeline.judgement.openings import Opener, recipe_question
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.question import Question, QuestionBasis, fix_question
from ptq_pipeline.judgement.recipe import Draws, collect_draws
from ptq_pipeline.judgement.sentences import Result
from ptq_pipeline.statistics.anytime import FailBudget, failing_draw
from ptq_pipeline.statistics.draws import DrawSplit

DrawState = Literal["good", "bad", "open", "failed"]


@dataclass(frozen=True, eq=False)
class Scope(HandedOn):
    """What a recipe's verdict will be about, fixed before any draw is evaluated.

    Attributes:
        groups: Groups of the selection and audit samples.
        policy: Limits and errors.
        draws: The distinct accepted draws, in their order.
        only: The groups to judge; all of them when empty.
        opener: Enters the look in the audit ledger.
    """

    groups: Groups
    policy: Policy
    draws: Draws
    only: Collection[GroupKey] = ()
    opener: Opener | None = None

    @classmethod
    def planned(
        cls,
        index: pd.DataFrame,
        groups: Groups,
        policy: Policy,
        only: Collection[GroupKey] = (),
        opener: Opener | None = None,
    ) -> Scope:
        """What is judged of the sets in ``calibration_set_index``."""
        unseen = pd.DataFrame(columns=["trial_id", "set_id", "role", "status"])
        return cls(groups, policy, collect_draws(index, unseen, policy), only, opener)

    def seen(self, shift: str) -> dict[str, Groups]:
        """The groups that are judged on the images of a shift, by the name of their cells' shift.

        Conditions of control columns are seen on the clean images.
        """
        if shift != CLEAN:
            return {shift: self.groups}
        return {shift: self.groups} | {c: self.groups.under(c) for c in self.groups.conditions}

    def question(
        self,
        shifts: Sequence[str],
        spec: Mapping[str, Any],
        floats: Callable[[Cells], Counts] | None = None,
        *,
        enter: bool = True,
    ) -> Question:
        """What is asked; ``spec`` is that of the recipe's trials, see :func:`.fix_question`."""
        seen = dict.fromkeys(shifts, self.groups)
        seen |= self.seen(CLEAN) if CLEAN in shifts else {}
        draws = self.draws
        asked = recipe_question(spec, draws.strategy, str(draws.table["set_id"].iloc[0]))
        named = asked, {"shifts": spec.get("shifts")}
        audited = QuestionBasis.of_groups(seen, self.groups, self.only, floats=floats, named=named)
        complete = draws.accepted >= self.policy.draws
        return fix_question(
            audited, self.policy, draws.distinct, self.opener, complete=complete, enter=enter
        )

    def refusal(
        self, shifts: Sequence[str], reference: pd.DataFrame, spec: Mapping[str, Any]
    ) -> Callable[[str, pd.DataFrame | None], bool]:
        """What is told each draw's set and predictions and says whether the recipe is refused."""
        study, distinct = Study(self, shifts, reference, spec), set(self.draws.table["set_id"])

        def refused(set_id: str, predictions: pd.DataFrame | None) -> bool:
            # Identical sets are one draw.
            return set_id in distinct and study.add(study.look(predictions)) == "FAIL"

        return refused


class Study:
    """What the draws so far say of the recipe, as `judge_recipe` would.

    Draws are added in the order in which they were drawn, whatever order they finish in, so where
    a study stops does not depend on who evaluates it.

    Args:
        scope: What is judged.
        shifts: Names of the shifts.
        reference: ``shift``, ``sample_id``, ``predicted`` of the float model.
        spec: That of any of the recipe's trials.
    """

    def __init__(
        self,
        scope: Scope,
        shifts: Sequence[str],
        reference: pd.DataFrame,
        spec: Mapping[str, Any] | None = None,
    ) -> None:
        self.scope, self.reference = scope, reference
        floats = reference.assign(trial_id="float")
        self.question = scope.question(shifts, spec or {}, lambda cells: self._count(floats, cells))
        self.states: list[DrawState] = []

    @property
    def cells(self) -> Cells:
        """The cells."""
        return self.question.cells

    @property
    def split(self) -> DrawSplit:
        """Budget of PASS."""
        return self.question.split

    @property
    def budget(self) -> FailBudget:
        """Budget of FAIL."""
        return self.question.budget

    def members(self, shift: str, audited: NDArray[np.int64]) -> sparse.csr_array:
        """Which of the samples with these ids, seen under a shift, are in which cell.

        Returns:
            0 or 1, int64, shape (cells, samples).
        """
        position = {key: i for i, key in enumerate(self.cells.keys)}
        here = np.isin(self.scope.groups.sample_ids, audited)
        cells, samples = [], []
        for name, groups in self.scope.seen(shift).items():
            for partition in groups.partitions:
                keys = (CellKey(partition.level, g, name) for g in partition.groups)
                numbers = [position.get(key, -1) for key in keys]
                # No group is -1 among the codes, and the last of these.
                found = np.array([*numbers, -1])[partition.codes[here]]
                samples.append(np.flatnonzero(found >= 0))
                cells.append(found[samples[-1]])
        places = np.concatenate(cells), np.concatenate(samples)
        shape = len(position), len(audited)
        return sparse.csr_array((np.ones(len(places[0]), np.int64), places), shape=shape)

    @property
    def failed_after(self) -> int | None:
        """The number of draws after which FAIL is declared, or None."""
        return failing_draw(self._bad, self.question.budget)

    def look(self, predictions: pd.DataFrame | None) -> DrawState:
        """The state of a draw of which all images were evaluated.

        Args:
            predictions: ``trial_id``, ``shift``, ``sample_id``, ``predicted`` of its one trial;
                None for a failed trial, which counts as bad.
        """
        if predictions is None:
            return "failed"
        counts = self._count(predictions, self.cells)
        found = self.question.judge_draws(counts)
        return "bad" if found.shown_bad.any() else "good" if found.shown_good.all() else "open"

    def add(self, state: DrawState) -> Result | None:
        """Add the next draw and return the recipe's verdict, or None where it is not settled."""
        self.states.append(state)
        if self.failed_after is not None:
            return "FAIL"
        draws, bad = self.scope.draws, self._bad
        preset = draws.table["preset"].to_numpy(dtype=bool)
        good = np.array([each == "good" for each in self.states])
        lost, left = int((~good & preset[: len(good)]).sum()), int(preset[len(good) :].sum())
        question = self.question
        split, budget = question.split, question.budget
        possible = split.pass_possible and lost <= split.allowed and not question.blocked
        # Whatever the draws that are left show, so many may stay open and none refuses any more.
        may_fail = failing_draw(bad + [True] * (len(preset) - len(bad)), budget) is not None
        enough = draws.accepted >= self.scope.policy.draws and lost + left <= split.allowed
        if possible and enough and not may_fail:
            return "PASS"
        return None if possible or may_fail else "INCONCLUSIVE"

    @property
    def _bad(self) -> list[bool]:
        return [state in ("bad", "failed") for state in self.states]

    def _count(self, predictions: pd.DataFrame, cells: Cells) -> Counts:
        outcomes = Outcomes.pair(predictions, self.reference, self.scope.groups)
        counts = collect_counts(tally(outcomes), cells, list(outcomes.trial_ids), "audit")
        return counts.by_cluster(outcomes, cells)
