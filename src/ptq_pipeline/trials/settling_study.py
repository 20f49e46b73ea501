"""What a recipe's verdict is settled about: cells, budgets and a fixed order of images."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from ptq_pipeline.reliability import Groups
from ptq_pipeline.reliability.cells import Cells, unjudged_groups
from ptq_pipeline.reliability.draws import DrawSplit, split_budget
from ptq_pipeline.reliability.policy import GroupKey, Policy
from ptq_pipeline.reliability.stopping import planned_cells
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
        clustered: frozenset[GroupKey] = frozenset(),
        delta: float = 0.001,
        chunk: int = 500,
        only: Collection[GroupKey] = (),
    ) -> "Study":
        """Fix cells and budgets from counts alone.

        Args:
            evaluation: selection and audit samples.
            groups: groups of the selection and audit samples.
            policy: limits and errors.
            draws: distinct draws of the full audit.
            clustered: groups that hold several samples of one cluster.
            delta: error of looking early.
            chunk: images per shift between two looks.
            only: the groups to judge; all of them when empty.
        """
        audit = evaluation.only((evaluation.samples["split"] == "audit").to_numpy())
        split = split_budget(max(draws, 1), policy.p0, policy.alpha)
        cells = planned_cells(groups, list(audit.arrays), policy, split, clustered, only)
        unjudged = unjudged_groups(cells, policy, split.alpha_image)
        blocked = any(group.critical for group in unjudged)
        return cls(evaluation, audit, groups, policy, cells, split, blocked, delta, chunk)

    @property
    def order(self) -> np.ndarray:
        """Positions of the audit samples in a random order that only they decide."""
        seed = int(self.evaluation.fingerprint[:16], 16)
        return np.random.default_rng(seed).permutation(len(self.evaluation.samples))

    def cells_of(self, shift: str) -> list[np.ndarray]:
        """Return, per partition, the cell of each audit sample, -1 for none."""
        position = {
            key: i
            for i, key in enumerate(
                zip(self.cells.shift, self.cells.level, self.cells.group, strict=True)
            )
        }
        audit = np.isin(self.groups.sample_ids, self.evaluation.samples["sample_id"].to_numpy())
        found = []
        for partition in self.groups.partitions:
            numbers = np.array(
                [position.get((shift, partition.level, g), -1) for g in partition.groups]
            )
            codes = partition.codes[audit]
            found.append(np.where(codes < 0, -1, numbers[codes]))
        return found
