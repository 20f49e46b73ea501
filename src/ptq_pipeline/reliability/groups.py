"""Which samples belong to which group, and how many there are.

Groups come in levels: the ``average`` over everything (group ``all``), each ``class``, each
``segment`` value (``tone=dark``) and each ``intersection`` of a class with a segment value
(``Sandal & tone=dark``), or of more of them. Within one *partition* (the classes, one segment
column, the classes crossed with one segment column) a sample belongs to at most one group, so
counting is one ``bincount`` per partition. A group without samples is missing: it gets no row,
never a 0 or a 1.

A *control* column (the camera, the site) makes no groups. Each of its values is a condition like a
shift: every group is judged again on the unchanged images that have this value (``camera=night``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import combinations
from typing import Any

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
        conditions: Per value of a control column, the samples that have it, shape (samples,).
    """

    sample_ids: NDArray[np.int64]
    split: NDArray[np.str_]
    labels: NDArray[np.int64]
    partitions: tuple[Partition, ...]
    conditions: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    def under(self, condition: str) -> Groups:
        """The same groups, with only those samples that meet a condition."""
        meets = self.conditions[condition]
        partitions = tuple(
            replace(each, codes=np.where(meets, each.codes, NO_GROUP)) for each in self.partitions
        )
        return replace(self, partitions=partitions, conditions={})

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


def defined_segments(
    definitions: Mapping[str, Any],
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the values of segment columns and of control columns.

    Args:
        definitions: Content of ``group_definitions``; a control column is marked ``control``.
    """
    found: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for column, entry in definitions["segments"].items():
        found[bool(entry.get("control"))][column] = list(entry["names"])
    return found


def build_groups(
    samples: pd.DataFrame,
    classes: Sequence[str],
    segments: Mapping[str, Sequence[str]],
    *,
    controls: Mapping[str, Sequence[str]] | None = None,
    intersections: bool = True,
    intersection_min_size: int = 1,
    intersection_depth: int = 2,
) -> Groups:
    """Build the groups of the ``selection`` and ``audit`` samples.

    Args:
        samples: Columns ``sample_id``, ``split``, ``label`` and one per segment and control.
        classes: Class names in label order.
        segments: Segment columns with their values in order of display.
        controls: Control columns with their values; each value is a condition, not a group.
        intersections: Whether classes are crossed with segments.
        intersection_min_size: Intersections with fewer audit samples are left out.
        intersection_depth: 2 crosses the classes with each segment; ``d`` crosses up to ``d - 1``
            segments with each other, and the classes with each of these.

    Returns:
        The groups.

    Raises:
        InputError: For a missing column, a label outside the classes, an unknown segment value, or
            a group with a single sample.
    """
    controls = controls or {}
    _check_columns(samples, {**segments, **controls})
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
    by_segment = [_segment_partition(used, column, values) for column, values in segments.items()]
    crossed = []
    for together in range(1, intersection_depth if intersections else 1):
        for chosen in combinations(by_segment, together):
            segment = reduce(_cross, chosen)
            cells = [segment] if together > 1 else []
            crossed += [
                _keep(cell, cell.count(split == "audit") >= intersection_min_size)
                for cell in (*cells, _cross(by_class, segment))
            ]
    groups = Groups(
        used["sample_id"].to_numpy(dtype=np.int64),
        split,
        labels,
        (average, by_class, *by_segment, *crossed),
        _conditions(used, controls),
    )
    check_single_samples(groups)
    return groups


def _conditions(
    samples: pd.DataFrame, controls: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[np.bool_]]:
    partitions = [
        _segment_partition(samples, column, values) for column, values in controls.items()
    ]
    return {
        name: partition.codes == code
        for partition in partitions
        for code, name in enumerate(partition.groups)
    }


def check_single_samples(groups: Groups) -> None:
    """Refuse classes and segments of a single audit sample: nothing can be said of it.

    One sample of `selection` is enough: it informs choices, and nothing is said of it.

    Raises:
        InputError: Naming the group and the split.
    """
    for partition in groups.partitions:
        if partition.level not in ("class", "segment"):
            continue
        counts = partition.count(groups.split == "audit")
        for group in np.asarray(partition.groups)[counts == 1]:
            raise InputError(
                f"samples: {partition.level} '{group}' has one sample in split 'audit'; "
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


def _cross(first: Partition, second: Partition) -> Partition:
    """Intersections that hold a sample, in the order of their parts."""
    inside = (first.codes >= 0) & (second.codes >= 0)
    width = len(second.groups)
    both = np.where(inside, first.codes * width + second.codes, NO_GROUP)
    found, codes = np.unique(both, return_inverse=True)
    outside = int(found.size > 0 and found[0] == NO_GROUP)
    names = tuple(
        f"{first.groups[code // width]} & {second.groups[code % width]}" for code in found[outside:]
    )
    return Partition("intersection", names, codes.reshape(-1).astype(np.int64) - outside)


def _keep(partition: Partition, kept: NDArray[np.bool_]) -> Partition:
    names = tuple(np.asarray(partition.groups, dtype=object)[kept])
    new_code = np.where(kept, np.cumsum(kept) - 1, NO_GROUP)
    codes = np.where(partition.codes < 0, NO_GROUP, new_code[partition.codes])
    return Partition(partition.level, names, codes)
