"""Cells (a group under a shift), their limits and outcomes, and which of them are judged.

A group is judged if zero losses could show it to be within its strictest limit at the level of the
tests, ``(1 - limit)**n <= alpha_image``, and if it has the smallest size that the policy asks for.
Both look at counts only, so the judged set is fixed before any outcome. ONE set serves the recipe
and the candidate; it is fixed at ``alpha_image``, the level of a draw's tests, which is below that
of the candidate's. Cells in which
the float model has nothing to lose are taken out of it by :func:`.above_floor`; which cells are
tested for FAIL, judged or not, says :mod:`.judging`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import LEVELS, CellKey, GroupKey
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.statistics.betting import Units, clusters_needed, units_below, zero_losses_show

KEY = list(CellKey._fields)
# Sizes of the clusters of each group that has any; None where they are not known.
Clusters = Mapping[GroupKey, NDArray[np.float64] | None]


@dataclass(frozen=True)
class Cells:
    """Groups under shifts, in order of display.

    Attributes:
        keys: What the cells are.
        n: Audit samples per cell, int64, shape (cells,).
        limit: Limit per cell, a fraction, shape (cells,).
        judged: Whether the cell can be shown good, so that PASS speaks of it, shape (cells,).
        critical: Whether policy names the group critical, shape (cells,).
        clusters: Groups that hold several samples of one cluster.
        at_floor: Whether it is not judged because the float model is not shown to be above
            ``float_floor`` (a fraction), shape (cells,); None before that was looked at.
    """

    keys: tuple[CellKey, ...]
    n: NDArray[np.int64]
    limit: NDArray[np.float64]
    judged: NDArray[np.bool_]
    critical: NDArray[np.bool_]
    clusters: Clusters = field(default_factory=dict)
    at_floor: NDArray[np.bool_] | None = None
    float_floor: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.keys)

    @cached_property
    def levels(self) -> NDArray[np.object_]:
        """Level per cell, shape (cells,)."""
        return np.array([key.level for key in self.keys], dtype=object)

    @cached_property
    def shift_of(self) -> NDArray[np.object_]:
        """Shift per cell, shape (cells,)."""
        return np.array([key.shift for key in self.keys], dtype=object)

    @cached_property
    def shifts(self) -> list[str]:
        """Every shift once, in order of display."""
        return list(dict.fromkeys(self.shift_of))

    @cached_property
    def clustered(self) -> NDArray[np.bool_]:
        """Whether the group holds several samples of one cluster, shape (cells,)."""
        return np.array([key.of in self.clusters for key in self.keys], dtype=np.bool_)

    @property
    def testable(self) -> NDArray[np.bool_]:
        """Judged cells of independent samples or of known clusters, shape (cells,)."""
        unknown = [key.of in self.clusters and self.clusters[key.of] is None for key in self.keys]
        return self.judged & ~np.array(unknown, dtype=np.bool_)


@dataclass(frozen=True)
class ClusterOutcomes:
    """Outcomes of one clustered cell.

    Attributes:
        size: Samples per cluster, shape (clusters,).
        net: Losses minus gains, sparse, shape (trials, clusters).
        right: Right answers of the float model, shape (clusters,).
    """

    size: NDArray[np.float64]
    net: sparse.csr_array
    right: NDArray[np.float64]

    def of_trial(self, row: int) -> NDArray[np.float64]:
        """Losses minus gains of one trial, shape (clusters,)."""
        return np.asarray(self.net[[row]].toarray()[0], dtype=np.float64)


@dataclass(frozen=True)
class Counts:
    """Outcomes of several trials on the same cells.

    Attributes:
        trial_ids: One per row.
        n: Samples per cell in this split, 0 where the group is empty, int64, shape (cells,).
        lost: Like ``gained`` and ``flips`` int64, shape (trials, cells).
        float_accuracy: Fraction, shape (cells,); NaN where the group is empty.
        clusters: Outcomes by cluster, by position of the cell, where samples are clustered.
        drops: What scores lose on average, shape (trials, cells); of answers the counts say it.
    """

    trial_ids: tuple[str, ...]
    n: NDArray[np.int64]
    lost: NDArray[np.int64]
    gained: NDArray[np.int64]
    flips: NDArray[np.int64]
    float_accuracy: NDArray[np.float64]
    clusters: Mapping[int, ClusterOutcomes] = field(default_factory=dict)
    drops: NDArray[np.float64] | None = None

    @cached_property
    def drop(self) -> NDArray[np.float64]:
        """Drop of accuracy, fractions, shape (trials, cells); NaN where the group is empty."""
        if self.drops is not None:
            return self.drops
        with np.errstate(invalid="ignore", divide="ignore"):
            return (self.lost - self.gained) / np.where(self.n > 0, self.n, np.nan)

    def units(self, cell: int, row: int) -> Units:
        """The clusters of one clustered cell in one trial."""
        found = self.clusters[cell]
        return Units.of(found.size, found.of_trial(row))

    def only(self, trial_ids: Sequence[str]) -> Counts:
        """The counts of some trials."""
        rows = [self.trial_ids.index(trial) for trial in trial_ids]
        return replace(
            self,
            trial_ids=tuple(trial_ids),
            lost=self.lost[rows],
            gained=self.gained[rows],
            flips=self.flips[rows],
            drops=None if self.drops is None else self.drops[rows],
            clusters={i: replace(each, net=each.net[rows]) for i, each in self.clusters.items()},
        )

    def by_cluster(self, outcomes: Outcomes, cells: Cells) -> Counts:
        """The same with the outcomes by cluster of every clustered cell.

        Shifts whose answers are not in ``outcomes`` are left out: nothing is shown of them.
        """
        groups = outcomes.groups
        here, all_codes = {*outcomes.shifts, *groups.conditions}, outcomes.cluster_codes
        found: dict[int, ClusterOutcomes] = {}
        losses = cache(lambda shift: outcomes.losses(self.trial_ids, shift))
        for i, key in enumerate(cells.keys):
            if not self.trial_ids or key.of not in all_codes or key.shift not in here:
                continue
            codes, shift = all_codes[key.of], key.shift
            inside = codes >= 0
            if shift in groups.conditions:
                inside, shift = inside & groups.conditions[shift], CLEAN
            # Under a condition only some of the clusters are left.
            samples = np.flatnonzero(inside)
            own = np.unique(codes[samples], return_inverse=True)[1]
            right = outcomes.reference_right[outcomes.shifts.index(shift), samples]
            size = np.bincount(own).astype(np.float64)
            places, shape = (np.arange(len(own)), own), (len(own), len(size))
            members = sparse.csc_array((np.ones(len(own)), places), shape=shape)
            found[i] = ClusterOutcomes(
                size=size,
                net=(losses(shift)[:, samples] @ members).tocsr(),
                right=np.bincount(own, weights=right).astype(np.float64),
            )
        return replace(self, clusters=found)


@dataclass(frozen=True)
class Requirement:
    """What a group needs to be judged under all shifts.

    Attributes:
        limit: Its strictest limit, a fraction.
        judged_from: Samples from which on it is judged; beyond any number where its clusters could
            not show the limit.
        needed: The same for people: for clusters about as many samples as make enough of them.
    """

    limit: float
    judged_from: int
    needed: int

    @classmethod
    def of(
        cls,
        policy: Policy,
        key: GroupKey,
        shifts: Sequence[str],
        alpha: float,
        clusters: NDArray[np.float64] | None = None,
    ) -> Requirement:
        """Find it at the level ``alpha`` of a draw's tests.

        ``clusters`` are the sizes of the group's clusters, if it holds several samples of one.
        """
        limit = policy.strictest_limit(*key, shifts)
        single = max(needed_samples(limit, alpha), policy.limits.of(key[0]).min_size)
        if clusters is None:
            return cls(limit, single, single)
        enough = zero_losses_show(clusters, limit, alpha)
        about = int(np.ceil(clusters_needed(limit, alpha) * clusters.mean()))
        if not enough and about <= clusters.sum():
            # As many clusters of equal size would do; of these unequal ones it takes more.
            units = Units.of(clusters, np.zeros_like(clusters))
            times = (replace(units, count=k * units.count) for k in count(2))
            enough_units = next(each for each in times if units_below(each, limit, alpha))
            about = int((enough_units.size * enough_units.count).sum())
        return cls(limit, single if enough else np.iinfo(np.int64).max, max(single, about))


def needed_samples(limit: float, alpha: float) -> int:
    """Smallest group of independent samples that is judged: ``(1 - limit)**n <= alpha``.

    Examples:
        >>> needed_samples(0.10, 0.05)
        29
    """
    return int(np.ceil(np.log(alpha) / np.log1p(-limit)))


def build_cells(
    scores: pd.DataFrame, policy: Policy, alpha_image: float, clusters: Clusters | None = None
) -> Cells:
    """Build the cells of the audit and fix which are judged at the level of a draw's tests.

    Args:
        scores: Scores of the evidence trials.
        policy: Limits and critical groups.
        alpha_image: The level.
        clusters: Groups that hold several samples of one cluster.

    Returns:
        The cells: shifts in order of appearance, levels from coarse to fine.
    """
    audit = scores[scores["split"] == "audit"].drop_duplicates(KEY)
    shifts = list(dict.fromkeys(audit["shift"]))
    place = {"_shift": audit["shift"].map(shifts.index), "_level": audit["level"].map(LEVELS.index)}
    audit = audit.assign(**place).sort_values(list(place), kind="stable")
    keys = tuple(map(CellKey._make, audit[KEY].itertuples(index=False, name=None)))
    clusters = clusters or {}
    judged_from = {
        key: Requirement.of(policy, key, shifts, alpha_image, clusters.get(key)).judged_from
        for key in {key.of for key in keys}
    }
    n = audit["n"].to_numpy(dtype=np.int64)
    return Cells(
        keys=keys,
        n=n,
        limit=np.array([policy.limit(*key) for key in keys]),
        judged=n >= np.array([judged_from[key.of] for key in keys], dtype=np.int64),
        critical=np.array([policy.is_critical(*key.of) for key in keys], dtype=np.bool_),
        clusters=clusters,
    )


def collect_counts(
    scores: pd.DataFrame, cells: Cells, trial_ids: Sequence[str], split: str
) -> Counts:
    """Arrange the scores of trials in one split as arrays of trials by cells.

    Raises:
        InputError: If a trial has no score in a cell that has samples, or a cell's counts of
            samples differ between trials.
    """
    used = scores[(scores["split"] == split) & scores["trial_id"].isin(list(trial_ids))]
    row = pd.Index(trial_ids).get_indexer(pd.Index(used["trial_id"]))
    keys = pd.MultiIndex.from_tuples(cells.keys, names=KEY)
    column = keys.get_indexer(pd.MultiIndex.from_frame(used[KEY]))
    used, row, column = used[column >= 0], row[column >= 0], column[column >= 0]

    def arranged(name: str, empty: float) -> NDArray[Any]:
        table = np.full((len(trial_ids), len(cells)), empty)
        table[row, column] = used[name].to_numpy()
        return table

    n, lost, gained, flips = (arranged(name, 0) for name in ("n", "lost", "gained", "flips"))
    accuracy = arranged("float_accuracy", np.nan)
    if not len(trial_ids):
        nothing = np.zeros(len(cells), dtype=np.int64)
        return Counts((), nothing, lost, gained, flips, np.full(len(cells), np.nan))
    common = n.max(axis=0)
    if np.any(n != common):
        trial, cell = np.argwhere(n != common)[0]
        level, group, shift = cells.keys[cell]
        raise InputError(
            f"scores: trial '{trial_ids[trial]}' has {n[trial, cell]} samples of "
            f"{level} '{group}' under '{shift}' in split "
            f"'{split}', other trials have {common[cell]}; run subgroup_scoring again."
        )
    counts = Counts(tuple(trial_ids), common, lost, gained, flips, accuracy[0])
    drops = arranged("drop", np.nan)
    # Of answers the counts say it all, also where a part of them is counted again.
    graded = not np.allclose(drops, counts.drop, rtol=0, atol=1e-12, equal_nan=True)
    return replace(counts, drops=drops) if graded else counts
