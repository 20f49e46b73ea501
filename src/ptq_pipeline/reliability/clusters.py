"""Outcomes by cluster, for groups that hold several audit samples of one user, scene or burst.

Samples of equal pixels are one cluster too, whatever the column ``cluster`` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.reliability.cells import Cells, ClusterOutcomes
from ptq_pipeline.reliability.groups import Groups
from ptq_pipeline.reliability.outcomes import CLEAN, lay_out, lay_out_float
from ptq_pipeline.reliability.policy import GroupKey


def sample_clusters(samples: pd.DataFrame) -> NDArray[np.int64]:
    """Number the clusters: samples of one ``cluster``, or of equal pixels, belong together.

    Args:
        samples: Optional columns ``cluster`` and ``content_hash``; without a value a sample is
            linked to no other by that column.

    Returns:
        A number per sample, int64, shape (samples,).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(samples)
    rows, links, nodes = [np.arange(count)], [np.arange(count)], count
    for column in ("cluster", "content_hash"):
        if column in samples.columns:
            codes, values = pd.factorize(samples[column])
            known = np.flatnonzero(codes >= 0)
            rows.append(known)
            links.append(codes[known] + nodes)
            nodes += len(values)
    row, link = np.concatenate(rows), np.concatenate(links)
    graph = coo_matrix((np.ones(len(row), dtype=np.int8), (row, link)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1][:count].astype(np.int64)


def clusters_of(samples: pd.DataFrame, groups: Groups) -> NDArray[np.int64]:
    """Number of the cluster of every sample of ``groups``, int64, shape (samples,)."""
    return sample_clusters(samples.set_index("sample_id").reindex(groups.sample_ids))


def clustered_groups(samples: pd.DataFrame, groups: Groups) -> frozenset[tuple[str, str]]:
    """Groups in which some cluster has more than one audit sample.

    Args:
        samples: The samples with optional ``cluster`` and ``content_hash``.
        groups: Their groups.

    Returns:
        Pairs of level and group.
    """
    codes = clusters_of(samples, groups)
    found = set()
    for partition in groups.partitions:
        used = (groups.split == "audit") & (partition.codes >= 0)
        pairs = pd.DataFrame({"group": partition.codes[used], "cluster": codes[used]})
        for code in pairs.loc[pairs.duplicated(), "group"].unique():
            found.add((partition.level, partition.groups[code]))
    return frozenset(found)


def cluster_codes(samples: pd.DataFrame, groups: Groups) -> dict[GroupKey, NDArray[np.int64]]:
    """Cluster per sample of each clustered group, counted from 0; -1 outside it."""
    clustered = clustered_groups(samples, groups)
    if not clustered:
        return {}
    codes = clusters_of(samples, groups)
    found = {}
    for partition in groups.partitions:
        for position, name in enumerate(partition.groups):
            if (partition.level, name) not in clustered:
                continue
            inside = (groups.split == "audit") & (partition.codes == position)
            own = np.full(len(codes), -1, dtype=np.int64)
            own[inside] = np.unique(codes[inside], return_inverse=True)[1]
            found[(partition.level, name)] = own
    return found


def cluster_sizes(samples: pd.DataFrame, groups: Groups) -> dict[GroupKey, NDArray[np.float64]]:
    """Sizes of the clusters of every group that holds several audit samples of one."""
    return _sizes(cluster_codes(samples, groups))


def _sizes(codes: Mapping[GroupKey, NDArray[np.int64]]) -> dict[GroupKey, NDArray[np.float64]]:
    return {key: np.bincount(own[own >= 0]).astype(np.float64) for key, own in codes.items()}


@dataclass(frozen=True, eq=False)
class ClusteredAudit:
    """The audit samples' clusters and everybody's answers.

    Attributes:
        samples: With optional columns ``cluster`` and ``content_hash``; a sample without either
            stands alone.
        groups: Their groups.
        predictions: ``trial_id``, ``shift``, ``sample_id``, ``predicted``.
        float_predictions: ``shift``, ``sample_id``, ``predicted``.
    """

    samples: pd.DataFrame
    groups: Groups
    predictions: pd.DataFrame
    float_predictions: pd.DataFrame

    @cached_property
    def sizes(self) -> Mapping[GroupKey, NDArray[np.float64]]:
        """Sizes of the clusters of every group that holds several samples of one."""
        return _sizes(self._codes)

    @cached_property
    def _codes(self) -> dict[GroupKey, NDArray[np.int64]]:
        return cluster_codes(self.samples, self.groups)

    def outcomes(self, cells: Cells, trial_ids: Sequence[str]) -> dict[int, ClusterOutcomes]:
        """Net losses by cluster of every clustered cell.

        Args:
            cells: The cells.
            trial_ids: Trials, one row each.

        Returns:
            By position of the cell. Shifts whose answers are not here are left out: their clusters
            are not known, so nothing is shown of them.
        """
        here = set(self.predictions["shift"]) | set(self.groups.conditions)
        wanted = [
            (i, key)
            for i, key in enumerate(zip(cells.level, cells.group, strict=True))
            if key in self._codes and cells.shift[i] in here
        ]
        if not wanted or not trial_ids:
            return {}
        used = self.predictions[self.predictions["trial_id"].isin(list(trial_ids))]
        answers = lay_out(used, self.groups)
        reference = lay_out_float(self.float_predictions, self.groups, answers.shifts)
        right = reference == self.groups.labels
        row_of = {
            (answers.trial_ids[t], answers.shifts[s]): row
            for row, (t, s) in enumerate(zip(answers.trial, answers.shift, strict=True))
        }
        found = {}
        for i, key in wanted:
            codes, size, shift = self._codes[key], self.sizes[key], cells.shift[i]
            inside = codes >= 0
            if shift in self.groups.conditions:
                inside &= self.groups.conditions[shift]
                kept, of_kept = np.unique(codes[inside], return_inverse=True)
                codes = np.full(len(codes), -1, dtype=np.int64)
                codes[inside] = of_kept
                size, shift = np.bincount(of_kept, minlength=len(kept)).astype(np.float64), CLEAN
            float_right = right[answers.shifts.index(shift)][inside].astype(np.int64)
            net = np.zeros((len(trial_ids), len(size)))
            for row, trial in enumerate(trial_ids):
                predicted = answers.predicted[row_of[(trial, shift)]][inside]
                lost = float_right - (predicted == self.groups.labels[inside])
                net[row] = np.bincount(codes[inside], weights=lost, minlength=len(size))
            reached = np.bincount(codes[inside], weights=float_right, minlength=len(size))
            found[i] = ClusterOutcomes(size, net, reached.astype(np.float64))
        return found
