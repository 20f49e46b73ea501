"""Cells (a group under a shift), their limits, and which of them are judged.

A group is judged if zero losses could show it to be within its strictest limit at the level of the
tests, ``(1 - limit)**n <= alpha_image``, and if it has the smallest size that the policy asks for.
Both look at counts only, so the judged set is fixed before any outcome. ONE set serves the recipe
and the candidate; it is fixed at ``alpha_image``, the smaller of their two levels. Cells in which
the float model has nothing to lose are taken out of it by :mod:`.float_floor`; which cells are
tested for FAIL, judged or not, says :mod:`.fail_family`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.errors import InputError
from ptq_pipeline.reliability.betting import zero_losses_show
from ptq_pipeline.reliability.policy import LEVELS, GroupKey, Policy

KEY = ["shift", "level", "group"]


@dataclass(frozen=True)
class Cells:
    """Groups under shifts, in order of display.

    Attributes:
        level: Level per cell.
        group: Group per cell.
        shift: Shift per cell.
        n: Audit samples per cell, int64, shape (cells,).
        limit: Limit per cell, a fraction, shape (cells,).
        judged: Whether the cell can be shown good, so that PASS speaks of it, shape (cells,).
        critical: Whether policy names the group critical, shape (cells,).
        clustered: Whether the group holds several samples of one cluster, shape (cells,).
        cluster_sizes: Sizes of its clusters, by group, where they are known.
        at_floor: Whether it is not judged because the float model is not shown to be above
            ``float_floor``, shape (cells,); None before that was looked at.
        float_floor: Floors, fractions, shape (cells,).
    """

    level: tuple[str, ...]
    group: tuple[str, ...]
    shift: tuple[str, ...]
    n: NDArray[np.int64]
    limit: NDArray[np.float64]
    judged: NDArray[np.bool_]
    critical: NDArray[np.bool_]
    clustered: NDArray[np.bool_]
    cluster_sizes: Mapping[GroupKey, NDArray[np.float64]] = field(default_factory=dict)
    at_floor: NDArray[np.bool_] | None = None
    float_floor: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.group)

    @property
    def testable(self) -> NDArray[np.bool_]:
        """Judged cells of independent samples or of known clusters, shape (cells,)."""
        known = np.array(
            [key in self.cluster_sizes for key in zip(self.level, self.group, strict=True)],
            dtype=np.bool_,
        )
        return self.judged & (~self.clustered | known)

    def index(self) -> pd.MultiIndex:
        """Keys (shift, level, group) of the cells."""
        return pd.MultiIndex.from_arrays([self.shift, self.level, self.group], names=KEY)


@dataclass(frozen=True)
class ClusterOutcomes:
    """Outcomes of one clustered cell.

    Attributes:
        size: Samples per cluster, shape (clusters,).
        net: Losses minus gains, shape (trials, clusters).
        right: Right answers of the float model, shape (clusters,).
    """

    size: NDArray[np.float64]
    net: NDArray[np.float64]
    right: NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Outcomes of several trials on the same cells.

    Attributes:
        trial_ids: One per row.
        n: Samples per cell in this split, 0 where the group is empty, int64, shape (cells,).
        lost: int64, shape (trials, cells).
        gained: int64, shape (trials, cells).
        flips: int64, shape (trials, cells).
        float_accuracy: Fraction, shape (cells,); NaN where the group is empty.
        clusters: Outcomes by cluster, by position of the cell, where samples are clustered.
    """

    trial_ids: tuple[str, ...]
    n: NDArray[np.int64]
    lost: NDArray[np.int64]
    gained: NDArray[np.int64]
    flips: NDArray[np.int64]
    float_accuracy: NDArray[np.float64]
    clusters: Mapping[int, ClusterOutcomes] = field(default_factory=dict)

    @property
    def drop(self) -> NDArray[np.float64]:
        """Drop of accuracy, fractions, shape (trials, cells); NaN where the group is empty."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return (self.lost - self.gained) / np.where(self.n > 0, self.n, np.nan)

    def only(self, row: int) -> Counts:
        """The counts of one trial."""
        return self.rows(np.array([row]))

    def rows(self, chosen: NDArray[np.int64]) -> Counts:
        """The counts of some trials."""
        clusters = {
            cell: ClusterOutcomes(found.size, found.net[chosen], found.right)
            for cell, found in self.clusters.items()
        }
        return Counts(
            tuple(self.trial_ids[row] for row in chosen),
            self.n,
            self.lost[chosen],
            self.gained[chosen],
            self.flips[chosen],
            self.float_accuracy,
            clusters,
        )


def needed_samples(limit: float, alpha: float, min_size: int = 0) -> int:
    """Smallest group that is judged: ``(1 - limit)**n <= alpha`` and ``n >= min_size``.

    Examples:
        >>> needed_samples(0.10, 0.05)
        29
    """
    n = int(np.ceil(np.log(alpha) / np.log1p(-limit)))
    return max(n, min_size)


def build_cells(
    scores: pd.DataFrame,
    policy: Policy,
    alpha_image: float,
    clustered: Collection[GroupKey] = (),
    cluster_sizes: Mapping[GroupKey, NDArray[np.float64]] | None = None,
) -> Cells:
    """Build the cells of the audit and fix which are judged.

    Args:
        scores: Scores of the evidence trials.
        policy: Limits and critical groups.
        alpha_image: Level of the tests of a draw.
        clustered: Groups that hold several samples of one cluster.
        cluster_sizes: Sizes of their clusters; without them clustered cells are not tested.

    Returns:
        The cells: shifts in order of appearance, levels from coarse to fine.
    """
    audit = scores[scores["split"] == "audit"].drop_duplicates(KEY)
    shifts = list(dict.fromkeys(audit["shift"]))
    rank = {level: position for position, level in enumerate(LEVELS)}
    audit = audit.assign(
        _shift=audit["shift"].map({s: i for i, s in enumerate(shifts)}),
        _level=audit["level"].map(rank),
    ).sort_values(["_shift", "_level"], kind="stable")
    keys = list(zip(audit["level"], audit["group"], strict=True))
    n = audit["n"].to_numpy(dtype=np.int64)
    sizes = dict(cluster_sizes or {})
    needed = {key: needed_in_samples(policy, key, shifts, alpha_image) for key in set(keys)}
    for key in set(keys) & set(sizes):
        strictest = policy.strictest_limit(*key, shifts)
        if not zero_losses_show(sizes[key], strictest, alpha_image):
            needed[key] = np.iinfo(np.int64).max
    return Cells(
        level=tuple(audit["level"]),
        group=tuple(audit["group"]),
        shift=tuple(audit["shift"]),
        n=n,
        limit=np.array(
            [policy.limit(*key, shift) for key, shift in zip(keys, audit["shift"], strict=True)]
        ),
        judged=n >= np.array([needed[key] for key in keys], dtype=np.int64),
        critical=np.array([policy.is_critical(*key) for key in keys], dtype=np.bool_),
        clustered=np.array([key in clustered or key in sizes for key in keys], dtype=np.bool_),
        cluster_sizes=sizes,
    )


def collect_counts(
    scores: pd.DataFrame, cells: Cells, trial_ids: Sequence[str], split: str
) -> Counts:
    """Arrange scores as arrays of trials by cells.

    Args:
        scores: Scores.
        cells: The cells.
        trial_ids: Trials, one row each.
        split: ``selection`` or ``audit``.

    Returns:
        The counts. A group that is empty in ``selection`` has ``n`` 0.

    Raises:
        InputError: If a trial has no score in a cell that has samples, or a cell's counts of
            samples differ between trials.
    """
    used = scores[(scores["split"] == split) & scores["trial_id"].isin(list(trial_ids))]
    row = pd.Index(trial_ids).get_indexer(pd.Index(used["trial_id"]))
    column = cells.index().get_indexer(pd.MultiIndex.from_frame(used[KEY]))
    used, row, column = used[column >= 0], row[column >= 0], column[column >= 0]
    shape = (len(trial_ids), len(cells))
    n = np.zeros(shape, dtype=np.int64)
    lost, gained, flips = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    accuracy = np.full(shape, np.nan)
    n[row, column] = used["n"].to_numpy()
    lost[row, column] = used["lost"].to_numpy()
    gained[row, column] = used["gained"].to_numpy()
    flips[row, column] = used["flips"].to_numpy()
    accuracy[row, column] = used["float_accuracy"].to_numpy()
    common = n.max(axis=0) if len(trial_ids) else np.zeros(len(cells), dtype=np.int64)
    if np.any(n != common):
        trial, cell = np.argwhere(n != common)[0]
        raise InputError(
            f"scores: trial '{trial_ids[trial]}' has {n[trial, cell]} samples of "
            f"{cells.level[cell]} '{cells.group[cell]}' under '{cells.shift[cell]}' in split "
            f"'{split}', other trials have {common[cell]}; run subgroup_scoring again."
        )
    first = accuracy[0] if len(trial_ids) else np.full(len(cells), np.nan)
    return Counts(tuple(trial_ids), common, lost, gained, flips, first)


def needed_in_samples(policy: Policy, key: GroupKey, shifts: Sequence[str], alpha: float) -> int:
    """Samples from which on a group of independent samples is judged under all shifts."""
    limit = policy.strictest_limit(*key, shifts)
    return needed_samples(limit, alpha, policy.limits.of(key[0]).min_size)
