"""What may end a study early: FAIL after any draw, or a verdict that no image can change.

What is judged is fixed once, before any draw is evaluated. `Scope.refusal` looks at whole draws
and knows FAIL only; a `Study` looks at some images at a time and settles PASS as well, see
`ptq_pipeline.trials.settling`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from ptq_pipeline.core.group_ids import GroupKey
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.judgement.cells import Cells
from ptq_pipeline.judgement.judging import above_floor
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.recipe import Draws, collect_draws
from ptq_pipeline.judgement.scope import unjudged_groups
from ptq_pipeline.judgement.stopping import Refusal, float_counts, planned_cells
from ptq_pipeline.statistics.draws import DrawSplit, split_budget
from ptq_pipeline.trials.audit import Refuse
from ptq_pipeline.trials.evaluation import Evaluation


class SettlingParameters(BaseModel):
    """How early looks are paid for: the parameters of ``settling``.

    Attributes:
        delta: probability, at most, of a PASS or FAIL that the full audit would not give.
        chunk: images per shift between two looks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    delta: float = Field(default=0.001, gt=0, lt=0.1)
    chunk: int = Field(default=500, ge=1)


@dataclass(frozen=True, eq=False)
class Scope:
    """What a recipe's verdict will be about, fixed before any draw is evaluated.

    Attributes:
        groups: groups of the selection and audit samples.
        policy: limits and errors.
        draws: the distinct accepted draws, in their order.
        only: the groups to judge; all of them when empty.
    """

    groups: Groups
    policy: Policy
    draws: Draws
    only: Collection[GroupKey] = ()

    @classmethod
    def planned(
        cls,
        index: pd.DataFrame,
        groups: Groups,
        policy: Policy,
        chosen: Collection[Mapping[str, str]] = (),
    ) -> "Scope":
        """Return what is judged of the sets in ``calibration_set_index``.

        Args:
            index: the sets.
            groups: groups of the selection and audit samples.
            policy: limits and errors.
            chosen: ``level`` and ``group`` of representatives; all groups when there are none.
        """
        unseen = pd.DataFrame(columns=["trial_id", "set_id", "role", "status"])
        only = [(each["level"], each["group"]) for each in chosen]
        return cls(groups, policy, collect_draws(index, unseen, policy), only)

    def refusal(self, shifts: Sequence[str]) -> Refuse:
        """Return what says after which draw the recipe is refused."""
        distinct = set(self.draws.table["set_id"])

        def refuse(reference: pd.DataFrame) -> Callable[[str, pd.DataFrame | None], bool]:
            seen = Refusal(
                self.groups,
                shifts,
                self.policy,
                self.draws.distinct,
                reference,
                only=self.only,
            )
            # Identical sets are one draw.
            return lambda set_id, predictions: set_id in distinct and seen.add(predictions)

        return refuse


@dataclass(frozen=True)
class Study:
    """What settles: cells, budgets and the order of images.

    Attributes:
        scope: what is judged.
        whole: selection and audit samples, as full trials are kept.
        evaluation: the audit samples.
        cells: groups under shifts.
        split: budget of PASS.
        blocked: whether a critical group is not judged, so that PASS is impossible.
        looks: error of looking early, and images between two looks.
    """

    scope: Scope
    whole: Evaluation
    evaluation: Evaluation
    cells: Cells
    split: DrawSplit
    blocked: bool
    looks: SettlingParameters

    @classmethod
    def of(
        cls,
        scope: Scope,
        evaluation: Evaluation,
        looks: SettlingParameters,
        reference: pd.DataFrame | None = None,
    ) -> "Study":
        """Fix cells and budgets from counts and the float model's answers.

        Args:
            scope: what is judged.
            evaluation: selection and audit samples.
            looks: how early looks are paid for.
            reference: ``shift``, ``sample_id``, ``predicted`` of the float model; without it no
                cell is held against the floor of the float model.
        """
        groups, policy, only = scope.groups, scope.policy, scope.only
        audit = evaluation.of("audit")
        split = split_budget(max(scope.draws.distinct, 1), policy.p0, policy.alpha)
        cells = planned_cells(groups, list(audit.arrays), policy, split, only)
        counts = None
        if reference is not None:
            counts = float_counts(cells, groups, reference)
            cells = above_floor(cells, counts, policy, groups.classes)
        sizes = {key: n for key, n in groups.every_size().items() if not only or key in only}
        unjudged = unjudged_groups(cells, policy, split.alpha_image, counts, sizes)
        blocked = any(group.blocks for group in unjudged)
        return cls(scope, evaluation, audit, cells, split, blocked, looks)

    @property
    def order(self) -> np.ndarray:
        """Positions of the audit samples in a random order that only they decide."""
        seed = int(self.evaluation.fingerprint[:16], 16)
        return np.random.default_rng(seed).permutation(len(self.evaluation.samples))

    def cells_of(self, shift: str) -> list[np.ndarray]:
        """Return, per partition, the cell of each audit sample, -1 for none.

        Conditions of control columns are seen on clean images, so their cells are among those.
        """
        position = {key: i for i, key in enumerate(self.cells.keys)}
        whole = self.scope.groups
        audit = np.isin(whole.sample_ids, self.evaluation.samples["sample_id"].to_numpy())
        seen = {shift: whole}
        if shift == CLEAN:
            seen |= {name: whole.under(name) for name in whole.conditions}
        found = []
        for name, groups in seen.items():
            for partition in groups.partitions:
                numbers = np.array(
                    [position.get((partition.level, g, name), -1) for g in partition.groups]
                )
                codes = partition.codes[audit]
                found.append(np.where(codes < 0, -1, numbers[codes]))
        return found

    def images_of(self, cell: int) -> str:
        """Return the shift whose images a cell is seen on."""
        shift = self.cells.keys[cell].shift
        return CLEAN if shift in self.scope.groups.conditions else shift
