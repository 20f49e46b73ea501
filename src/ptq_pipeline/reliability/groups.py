"""Which samples belong to which group, and how many there are.

Groups come in levels: the ``average`` over everything (group ``all``), each ``class``, each
``segment`` value (``tone=dark``) and each ``intersection`` of a class with a segment value
(``Sandal & tone=dark``). Within one *partition* (the classes, one segment column, the classes
crossed with one segment column) a sample belongs to at most one group, so counting is one
``bincount`` per partition. A group without samples is missing: it gets no row, never a 0 or a 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.errors import InputError

EVALUATED_SPLITS = ("selection", "audit")
AVERAGE_GROUP = "all"
MISSING = "missing"
NO_GROUP = -1


@dataclass(frozen=True)
class Partition:
    """Groups that do not overlap.

    Attributes:
        level: ``average``, ``class``, ``segment`` or ``intersection``.
        groups: Group names.
        codes: Index into ``groups`` per sample, int64, shape (samples,); -1 for no group.
    """

    level: str
    groups: tuple[str, ...]
    codes: NDArray[np.int64]

    def count(self, mask: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Samples per group, int64, shape (groups,); only those of ``mask`` if it is given."""
        codes = self.codes if mask is None else self.codes[mask]
        return np.bincount(codes[codes >= 0], minlength=len(self.groups)).astype(np.int64)


@dataclass(frozen=True)
class Groups:
    """Group membership of the evaluated samples.

    Attributes:
        sample_ids: Ids, increasing, int64, shape (samples,).
        split: ``selection`` or ``audit`` per sample, shape (samples,).
        labels: Class index per sample, int64, shape (samples,).
        partitions: All partitions, the average first.
    """

    sample_ids: NDArray[np.int64]
    split: NDArray[np.str_]
    labels: NDArray[np.int64]
    partitions: tuple[Partition, ...]

    def counts(self, split: str = "audit") -> pd.DataFrame:
        """Counts of one split: columns ``level``, ``group``, ``n``; empty groups have no row."""
        mask = self.split == split
        rows = [
            (partition.level, group, int(n))
            for partition in self.partitions
            for group, n in zip(partition.groups, partition.count(mask), strict=True)
            if n > 0
        ]
        return pd.DataFrame(rows, columns=["level", "group", "n"])

    def by_level(self) -> dict[str, list[str]]:
        """Names of all groups by level."""
        names: dict[str, list[str]] = {}
        for partition in self.partitions:
            names.setdefault(partition.level, []).extend(partition.groups)
        return names


def build_groups(
    samples: pd.DataFrame,
    classes: Sequence[str],
    segments: Mapping[str, Sequence[str]],
    *,
    intersections: bool = True,
    intersection_min_size: int = 1,
) -> Groups:
    """Build the groups of the ``selection`` and ``audit`` samples.

    Args:
        samples: Columns ``sample_id``, ``split``, ``label`` and one per segment.
        classes: Class names in label order.
        segments: Segment columns with their values in order of display.
        intersections: Whether classes are crossed with segments.
        intersection_min_size: Intersections with fewer audit samples are left out.

    Returns:
        The groups.

    Raises:
        InputError: For a missing column, a label outside the classes, an unknown segment value, or
            a group with a single sample.
    """
    _check_columns(samples, segments)
    used = samples[samples["split"].isin(EVALUATED_SPLITS)].sort_values("sample_id")
    labels = used["label"].to_numpy(dtype=np.int64)
    if labels.size and not (0 <= labels.min() and labels.max() < len(classes)):
        wrong = labels[(labels < 0) | (labels >= len(classes))][0]
        raise InputError(
            f"samples: label {wrong} is outside the model's {len(classes)} classes "
            f"(0..{len(classes) - 1}); correct the label or the model's class list."
        )
    split = used["split"].to_numpy(dtype=np.str_)
    average = Partition("average", (AVERAGE_GROUP,), np.zeros(len(used), dtype=np.int64))
    by_class = Partition("class", tuple(classes), labels)
    partitions, crossed = [average, by_class], []
    for column, values in segments.items():
        segment = _segment_partition(used, column, values)
        partitions.append(segment)
        if intersections:
            cross = _cross(by_class, segment)
            crossed.append(_keep(cross, cross.count(split == "audit") >= intersection_min_size))
    groups = Groups(
        used["sample_id"].to_numpy(dtype=np.int64), split, labels, (*partitions, *crossed)
    )
    check_single_samples(groups)
    return groups


def check_single_samples(groups: Groups) -> None:
    """Refuse classes and segments that hold a single sample in a split: nothing can be said of it.

    Raises:
        InputError: Naming the group and the split.
    """
    for partition in groups.partitions:
        if partition.level not in ("class", "segment"):
            continue
        for split in EVALUATED_SPLITS:
            counts = partition.count(groups.split == split)
            for group in np.asarray(partition.groups)[counts == 1]:
                raise InputError(
                    f"samples: {partition.level} '{group}' has one sample in split '{split}'; "
                    "merge it with another, add samples, or leave it out."
                )


def clustered_groups(samples: pd.DataFrame, groups: Groups) -> frozenset[tuple[str, str]]:
    """Groups in which some cluster has more than one audit sample.

    Args:
        samples: The samples; without a ``cluster`` column nothing is clustered.
        groups: Their groups.

    Returns:
        Pairs of level and group.
    """
    if "cluster" not in samples.columns:
        return frozenset()
    clusters = samples.set_index("sample_id")["cluster"].reindex(groups.sample_ids)
    codes = pd.factorize(clusters)[0]
    found = set()
    for partition in groups.partitions:
        used = (groups.split == "audit") & (partition.codes >= 0) & (codes >= 0)
        pairs = pd.DataFrame({"group": partition.codes[used], "cluster": codes[used]})
        for code in pairs.loc[pairs.duplicated(), "group"].unique():
            found.add((partition.level, partition.groups[code]))
    return frozenset(found)


def _check_columns(samples: pd.DataFrame, segments: Mapping[str, Sequence[str]]) -> None:
    missing = {"sample_id", "split", "label", *segments} - set(samples.columns)
    if missing:
        raise InputError(
            f"samples: column {', '.join(sorted(map(repr, missing)))} is missing; its columns are "
            f"{', '.join(map(repr, samples.columns))}."
        )


def _segment_partition(samples: pd.DataFrame, column: str, values: Sequence[str]) -> Partition:
    position = {value: code for code, value in enumerate(values)}
    observed = samples[column].to_numpy(dtype=object)
    known = samples[column].isin(list(position)).to_numpy()
    absent = samples[column].isna().to_numpy() | (samples[column] == MISSING).to_numpy()
    if not np.all(known | absent):
        wrong = observed[~(known | absent)][0]
        raise InputError(
            f"samples: segment column '{column}' holds '{wrong}', which is not one of "
            f"{', '.join(map(repr, values))}."
        )
    codes = samples[column].map(position).fillna(NO_GROUP).to_numpy(dtype=np.int64)
    return Partition("segment", tuple(f"{column}={value}" for value in values), codes)


def _cross(classes: Partition, segment: Partition) -> Partition:
    names = tuple(f"{a} & {b}" for a in classes.groups for b in segment.groups)
    codes = classes.codes * len(segment.groups) + segment.codes
    return Partition("intersection", names, np.where(segment.codes < 0, NO_GROUP, codes))


def _keep(partition: Partition, kept: NDArray[np.bool_]) -> Partition:
    names = tuple(np.asarray(partition.groups, dtype=object)[kept])
    new_code = np.where(kept, np.cumsum(kept) - 1, NO_GROUP)
    codes = np.where(partition.codes < 0, NO_GROUP, new_code[partition.codes])
    return Partition(partition.level, names, codes)
