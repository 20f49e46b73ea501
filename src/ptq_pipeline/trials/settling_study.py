"""What a recipe's verdict is settled about: cells, budgets and a fixed order of images."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ptq_pipeline.reliability import Groups
from ptq_pipeline.reliability.cells import Cells
from ptq_pipeline.reliability.draws import DrawSplit, split_budget
from ptq_pipeline.reliability.float_floor import above_floor
from ptq_pipeline.reliability.group_ids import CLEAN, GroupKey
from ptq_pipeline.reliability.policy import Policy
from ptq_pipeline.reliability.stopping import float_counts, planned_cells
from ptq_pipeline.reliability.unjudged import unjudged_groups
from ptq_pipeline.trials.evaluation import Evaluation


@dataclass(frozen=True)
class Study:
    """What settles: cells, budgets and the order of images.

    Attributes:
        whole: selection and audit samples, as full trials are kept.
        evaluation: the audit samples.
        groups: groups of all evaluated samples.
        policy: limits and errors.
        cells: groups under shifts.
        split: budget of PASS.
        blocked: whether a critical group is not judged, so that PASS is impossible.
        delta: error of looking early.
        chunk: images per shift between two looks.
    """

    whole: Evaluation
    evaluation: Evaluation
    groups: Groups
    policy: Policy
    cells: Cells
    split: DrawSplit
    blocked: bool
    delta: float = 0.001
    chunk: int = 500

    @classmethod
    def of(
        cls,
        evaluation: Evaluation,
        groups: Groups,
        policy: Policy,
        draws: int,
        delta: float = 0.001,
        chunk: int = 500,
        only: Collection[GroupKey] = (),
        reference: pd.DataFrame | None = None,
    ) -> "Study":
        """Fix cells and budgets from counts and the float model's answers.

        Args:
            evaluation: selection and audit samples.
            groups: groups of the selection and audit samples.
            policy: limits and errors.
            draws: distinct draws of the full audit.
            delta: error of looking early.
            chunk: images per shift between two looks.
            only: the groups to judge; all of them when empty.
            reference: ``shift``, ``sample_id``, ``predicted`` of the float model; without it no
                cell is held against the floor of the float model.
        """
        audit = evaluation.only((evaluation.samples["split"] == "audit").to_numpy())
        split = split_budget(max(draws, 1), policy.p0, policy.alpha)
        cells = planned_cells(groups, list(audit.arrays), policy, split, only)
        counts = None
        if reference is not None:
            counts = float_counts(cells, groups, reference)
            cells = above_floor(cells, counts, policy, groups.classes)
        sizes = {key: n for key, n in groups.sizes().items() if not only or key in only}
        unjudged = unjudged_groups(cells, policy, split.alpha_image, counts, sizes)
        blocked = any(group.blocks for group in unjudged)
        return cls(evaluation, audit, groups, policy, cells, split, blocked, delta, chunk)

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
        audit = np.isin(self.groups.sample_ids, self.evaluation.samples["sample_id"].to_numpy())
        seen = {shift: self.groups}
        if shift == CLEAN:
            seen |= {name: self.groups.under(name) for name in self.groups.conditions}
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
        return CLEAN if shift in self.groups.conditions else shift
