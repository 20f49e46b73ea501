"""Which samples belong to which group, and how many there are.

Groups come in levels: the ``average`` over everything (group ``all``), each ``class``, each
``segment`` value (``tone=dark``) and each ``intersection`` of a class with a segment value
(``Sandal & tone=dark``), or of more of them. Within one *partition* (the classes, one segment
column, the classes crossed with one segment column) a sample belongs to at most one group, so
counting is one ``bincount`` per partition. A group without samples is missing: it gets no row,
never a 0 or a 1. Two groups of one level never have the same label.

In every group equal pixels count once: a copy of an image says nothing new. Copies that carry
different labels are contradictory, so both count, as one cluster. Samples of one user, scene or
burst (column ``cluster``) are a cluster too: only clusters are independent of each other.

One large cluster among many small ones would take nearly all power from the test of a group. So no
cluster counts with more images than a cap, the smallest that leaves out at most a twentieth of the
group's audit images. The cap follows from counts, and which images of a cluster stay follows from
the numbers of the samples, so both are fixed before any answer. What is said of the group is said
of its capped clusters; where one image of each is left, the images are independent. The objects of
an image and the units of a table that somebody else made count whole.

A *control* column (the camera, the site) makes no groups. Each of its values is a condition like a
shift: every group is judged again on the unchanged images that have this value (``camera=night``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.core.group_ids import (
    CLASS_LEVEL,
    NAMED_LEVELS,
    SEGMENT_LEVEL,
    GroupId,
    GroupKey,
    Level,
)
from ptq_pipeline.core.handed_on import HandedOn

# Share of a group's audit images that may be left out, so that no cluster outweighs the others.
LEFT_OUT = 0.05
EVALUATED_SPLITS = ("selection", "audit")
NO_GROUP = -1


@dataclass(frozen=True)
class Partition:
    """Groups of one level that do not overlap.

    ``codes`` is the index into ``ids`` per sample, int64, shape (samples,); -1 for no group.
    """

    level: Level
    ids: tuple[GroupId, ...]
    codes: NDArray[np.int64]

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Labels of the groups."""
        return tuple(each.label for each in self.ids)

    def count(self, mask: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Samples per group, int64, shape (groups,); only those of ``mask`` if it is given."""
        codes = self.codes if mask is None else self.codes[mask]
        return np.bincount(codes[codes >= 0], minlength=len(self.ids)).astype(np.int64)

    def once(self, content: NDArray[np.int64]) -> Partition:
        """Take the copies of an image out of each group, all but the first."""
        copies = pd.DataFrame({"code": self.codes, "content": content}).duplicated().to_numpy()
        return replace(self, codes=np.where(copies, NO_GROUP, self.codes)) if copies.any() else self

    def beyond_cap(
        self, clusters: NDArray[np.int64], order: NDArray[np.uint64], audit: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Audit samples that a group leaves out because its other clusters are smaller.

        ``order`` says which samples of a cluster come first; shape (samples,) all.
        """
        used = np.flatnonzero(audit & (self.codes >= 0))
        table = pd.DataFrame({"group": self.codes[used], "cluster": clusters[used]})
        beyond = np.zeros(len(self.codes), dtype=np.bool_)
        if not table.duplicated().any():
            return beyond
        by_order = np.argsort(order[used], kind="stable")
        rank = table.iloc[by_order].groupby(["group", "cluster"]).cumcount().sort_index()
        ranks = rank.groupby(table["group"])
        kept = ranks.transform(lambda own: np.sort(own)[len(own) - 1 - int(LEFT_OUT * len(own))])
        beyond[used] = (rank > kept).to_numpy()
        return beyond


@dataclass(frozen=True)
class Groups(HandedOn):
    """Group membership of the evaluated samples.

    Attributes:
        sample_ids: Increasing, int64, shape (samples,).
        split: ``selection`` or ``audit`` per sample, shape (samples,).
        labels: Class index per sample, int64, shape (samples,).
        memberships: All partitions with every copy of an image, the average first.
        content: One number per split, label and pixels, int64, shape (samples,).
        clusters: Number of the cluster of each sample, int64, shape (samples,).
        conditions: Per value of a control column, the samples that have it, shape (samples,).
        hidden: Intersections that are too small to be shown; a policy may still name them.
        alarms: Most false alarms of a class that count on one image, where samples of the label -1
            are images of a detector; see :mod:`.units`.
        whole_clusters: Whether clusters count whole: what is beyond their caps was taken out of the
            memberships before, or they are the objects of an image.
    """

    sample_ids: NDArray[np.int64]
    split: NDArray[np.str_]
    labels: NDArray[np.int64]
    memberships: tuple[Partition, ...]
    content: NDArray[np.int64]
    clusters: NDArray[np.int64]
    conditions: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    hidden: tuple[Partition, ...] = ()
    alarms: int | None = None
    whole_clusters: bool = False

    @cached_property
    def partitions(self) -> tuple[Partition, ...]:
        """All partitions, the average first.

        Copies of an image, and what is beyond the cap of a group's clusters, belong to no group.
        """
        once = [each.once(self.content) for each in self.memberships]
        return tuple(
            replace(each, codes=np.where(beyond, NO_GROUP, each.codes)) if beyond.any() else each
            for each, beyond in zip(once, self.beyond_caps, strict=True)
        )

    @cached_property
    def beyond_caps(self) -> tuple[NDArray[np.bool_], ...]:
        """Samples that each partition's groups leave out of large clusters, shape (samples,)."""
        audit, order = self.split == "audit", _mixed(self.sample_ids)
        if self.whole_clusters or pd.Series(self.clusters[audit]).is_unique:
            return tuple(np.zeros(len(self.split), dtype=np.bool_) for _ in self.memberships)
        return tuple(
            each.once(self.content).beyond_cap(self.clusters, order, audit)
            for each in self.memberships
        )

    def left_out(self) -> dict[GroupKey, int]:
        """Audit images that each group leaves out of large clusters, where there are some."""
        found: dict[GroupKey, int] = {}
        for partition, beyond in zip(self.memberships, self.beyond_caps, strict=True):
            names = zip(partition.groups, partition.count(beyond).tolist(), strict=True)
            found |= {(partition.level, group): n for group, n in names if n > 0}
        return found

    @property
    def classes(self) -> int:
        """How many classes the model has."""
        return sum(len(each.ids) for each in self.memberships if each.level == CLASS_LEVEL)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in label order."""
        return tuple(
            name for each in self.memberships if each.level == CLASS_LEVEL for name in each.groups
        )

    @cached_property
    def cluster_codes(self) -> dict[GroupKey, NDArray[np.int64]]:
        """Cluster per sample of each group that holds several audit samples of one.

        Counted from 0 within the group, -1 outside it, int64, shape (samples,).
        """
        return self._cluster_codes(several=True)

    @property
    def every_cluster_codes(self) -> dict[GroupKey, NDArray[np.int64]]:
        """The same of every group, also where each sample is a cluster of its own."""
        return self._cluster_codes(several=False)

    def _cluster_codes(self, *, several: bool) -> dict[GroupKey, NDArray[np.int64]]:
        audit = self.split == "audit"
        found: dict[GroupKey, NDArray[np.int64]] = {}
        for partition in self.partitions:
            used = audit & (partition.codes >= 0)
            pairs = pd.DataFrame({"group": partition.codes[used], "cluster": self.clusters[used]})
            chosen = pairs.loc[pairs.duplicated(), "group"] if several else pairs["group"]
            for code in chosen.unique():
                inside = audit & (partition.codes == code)
                own = np.full(len(self.clusters), NO_GROUP, dtype=np.int64)
                own[inside] = np.unique(self.clusters[inside], return_inverse=True)[1]
                found[(partition.level, partition.groups[code])] = own
        return found

    @property
    def cluster_sizes(self) -> dict[GroupKey, NDArray[np.float64]]:
        """Sizes of the clusters of every group that holds several audit samples of one."""
        return sizes_of_clusters(self.cluster_codes)

    def under(self, condition: str) -> Groups:
        """The same groups, with only those samples that meet a condition."""
        meets, kept = self.conditions[condition], []
        for each, beyond in zip(self.memberships, self.beyond_caps, strict=True):
            # A copy of an image that is left out would take its place.
            pairs = pd.MultiIndex.from_arrays([each.codes, self.content])
            counts = meets & ~np.asarray(pairs.isin(pairs[beyond])) if beyond.any() else meets
            kept.append(replace(each, codes=np.where(counts, each.codes, NO_GROUP)))
        return replace(self, memberships=tuple(kept), conditions={}, hidden=(), whole_clusters=True)

    def only(self, split: str) -> Groups:
        """The same groups, with the samples of one split."""
        here = self.split == split
        return replace(
            self,
            sample_ids=self.sample_ids[here],
            split=self.split[here],
            labels=self.labels[here],
            memberships=tuple(replace(p, codes=p.codes[here]) for p in self.memberships),
            content=self.content[here],
            clusters=self.clusters[here],
            conditions={name: meets[here] for name, meets in self.conditions.items()},
            hidden=tuple(replace(p, codes=p.codes[here]) for p in self.hidden),
        )

    def copies(self, split: str = "audit") -> int:
        """Samples of a split whose pixels and label another one has already."""
        here = self.content[self.split == split]
        return int(here.size - np.unique(here).size)

    def counts(self, split: str = "audit") -> pd.DataFrame:
        """Counts of one split: columns ``level``, ``group``, ``n``; empty groups have no row."""
        rows = [(*key, n) for key, n in self.sizes(split).items() if n > 0]
        return pd.DataFrame(rows, columns=["level", "group", "n"])

    def by_level(self) -> dict[str, list[str]]:
        """Labels of all groups by level, also of those that are too small to be shown."""
        names: dict[str, list[str]] = {}
        for partition in (*self.memberships, *self.hidden):
            names.setdefault(partition.level, []).extend(partition.groups)
        return names

    def by_column(self) -> dict[str, list[str]]:
        """Labels of the groups that a cost can be given for: average, class, or segment column."""
        return {
            p.ids[0].columns[0] if p.level == SEGMENT_LEVEL else p.level: list(p.groups)
            for p in self.memberships
            if p.level in ("average", *NAMED_LEVELS) and p.ids
        }

    def sizes(self, split: str = "audit") -> dict[GroupKey, int]:
        """Samples by level and label; classes and segments without any have 0."""
        return self._sizes(self.partitions, split)

    def every_size(self, only: Collection[GroupKey] = ()) -> dict[GroupKey, int]:
        """As ``sizes``, with the intersections that are too small to be shown, or ``only`` some."""
        hidden = [each.once(self.content) for each in self.hidden]
        every = self.sizes() | self._sizes(hidden, "audit")
        return {key: n for key, n in every.items() if not only or key in only}

    def _sizes(self, partitions: Sequence[Partition], split: str) -> dict[GroupKey, int]:
        return {
            (partition.level, group): int(n)
            for partition in partitions
            for group, n in zip(partition.groups, partition.count(self.split == split), strict=True)
            if n > 0 or partition.level in NAMED_LEVELS
        }


def sizes_of_clusters(
    codes: Mapping[GroupKey, NDArray[np.int64]],
) -> dict[GroupKey, NDArray[np.float64]]:
    """Samples per cluster of each group, from :attr:`.Groups.cluster_codes`."""
    return {key: np.bincount(own[own >= 0]).astype(np.float64) for key, own in codes.items()}


def _mixed(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Numbers that have nothing to do with what samples show (the mixer of splitmix64)."""
    with np.errstate(over="ignore"):
        mixed = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
