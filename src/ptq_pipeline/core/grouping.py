"""Finding the groups of samples: from their labels, segment and control columns.

What groups are says :mod:`.groups`. One way leads to them, for the audit's images and production's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import (
    CLASS_LEVEL,
    SEGMENT_LEVEL,
    GroupDefinitions,
    GroupId,
    check_labels,
    class_ids,
    segment_ids,
)
from ptq_pipeline.core.groups import EVALUATED_SPLITS, NO_GROUP, Groups, Partition
from ptq_pipeline.core.names import ALARMS, MISSING
from ptq_pipeline.core.units import NO_CLASS, finds_objects, units_of


class SubgroupScoringParameters(BaseModel):
    """Which groups are scored: the parameters of ``subgroup_scoring``.

    Attributes:
        segments: Segment columns to use; all of them when null.
        intersections: Whether classes are crossed with segments.
        intersection_min_size: Intersections with fewer audit samples are left out.
        intersection_depth: 2 crosses classes with each segment; d crosses up to d - 1 segments with
            each other, and classes with each of these.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    segments: tuple[str, ...] | None = None
    intersections: bool = True
    intersection_min_size: int = Field(default=20, ge=1)
    intersection_depth: int = Field(default=2, ge=2, le=5)

    def build(self, samples: pd.DataFrame, definitions: GroupDefinitions) -> Groups:
        """Find the groups of samples: of the audit's, and of production's by the same settings.

        Raises:
            InputError: For an unknown segment, or groups that cannot be scored.
        """
        segments, controls = definitions.columns(), definitions.columns(control=True)
        chosen = segments if self.segments is None else self.segments
        if unknown := sorted(set(chosen) - set(segments)):
            raise InputError(
                f"subgroup_scoring: segment '{unknown[0]}' does not exist; the segments are "
                f"{', '.join(map(repr, segments)) or 'none'}."
                + (f" '{unknown[0]}' is a control column." if unknown[0] in controls else "")
            )
        found = build_groups(
            units_of(samples, definitions.classes, definitions.alarms),
            definitions.classes,
            {name: segments[name] for name in chosen},
            controls=controls,
            intersection_min_size=self.intersection_min_size,
            intersection_depth=self.intersection_depth if self.intersections else 1,
        )
        return replace(found, alarms=definitions.alarms, whole_clusters=finds_objects(samples))


def build_groups(
    samples: pd.DataFrame,
    classes: Sequence[str],
    segments: Mapping[str, Sequence[str]],
    *,
    controls: Mapping[str, Sequence[str]] | None = None,
    intersection_min_size: int = 1,
    intersection_depth: int = 2,
) -> Groups:
    """Build the groups of the ``selection`` and ``audit`` samples.

    Args:
        samples: Columns ``sample_id``, ``split``, ``label`` and one per segment and control, and
            optionally ``content_hash``, by which copies of an image are known.
        classes: Class names in label order; where there are none, nothing is known of labels.
        segments: Segment columns with their values in order of display.
        controls: Control columns with their values; each value is a condition, not a group.
        intersection_min_size: Intersections with fewer audit samples are left out.
        intersection_depth: 1 crosses nothing, 2 the classes with each segment; ``d`` crosses up to
            ``d - 1`` segments with each other, and the classes with each of these.

    Raises:
        InputError: For a missing column, a label outside the classes, an unknown segment value, or
            groups that would be called alike.
    """
    controls = controls or {}
    _check_columns(samples, {**segments, **controls})
    used = samples[samples["split"].isin(EVALUATED_SPLITS)].sort_values("sample_id")
    labels = _checked_labels(used, classes) if classes else np.zeros(len(used), dtype=np.int64)
    split, content = used["split"].to_numpy(dtype=np.str_), _content(used)
    everything = np.where(labels == NO_CLASS, NO_GROUP, 0).astype(np.int64)
    average = Partition("average", (GroupId("average"),), everything)
    codes = labels if classes else np.full(len(used), NO_GROUP, dtype=np.int64)
    by_class = Partition(CLASS_LEVEL, class_ids(classes), codes)
    by_segment = [_segment_partition(used, column, values) for column, values in segments.items()]
    cells = [cell for cell in _crossed(by_class, by_segment, intersection_depth) if cell.ids]
    large = [c.once(content).count(split == "audit") >= intersection_min_size for c in cells]
    crossed = [_keep(cell, shown) for cell, shown in zip(cells, large, strict=True)]
    hidden = [_keep(cell, ~shown) for cell, shown in zip(cells, large, strict=True)]
    memberships = (average, by_class, *by_segment, *crossed)
    check_labels(each for partition in (*memberships, *hidden) for each in partition.ids)
    return Groups(
        sample_ids=used["sample_id"].to_numpy(dtype=np.int64),
        split=split,
        labels=labels,
        memberships=memberships,
        content=content,
        clusters=sample_clusters(used),
        conditions=_conditions(used, controls),
        hidden=tuple(each for each in hidden if each.ids),
    )


def sample_clusters(samples: pd.DataFrame) -> NDArray[np.int64]:
    """Number the clusters: samples of one ``cluster``, or of equal pixels, belong together.

    Both columns, ``cluster`` and ``content_hash``, may be missing, and without a value a sample is
    linked to no other. Returns int64, shape (samples,).
    """
    columns = [name for name in ("cluster", "content_hash") if name in samples.columns]
    links = [pd.Series(pd.factorize(samples[name])[0]) for name in columns]
    number = pd.Series(np.arange(len(samples)))
    while True:
        # Linked samples, and those that have one number, take the smallest number among them; it
        # is the place of a sample, whose own number comes next. So chains of any length end soon.
        before = number
        for codes in (*links, before):
            number = number.where(codes < 0, number.groupby(codes).transform("min"))
        number = pd.Series(number.to_numpy()[number])
        if number.equals(before):
            return number.to_numpy(dtype=np.int64)


def _content(samples: pd.DataFrame) -> NDArray[np.int64]:
    """Number the samples so that those of equal split, label and pixels have the same number."""
    if "content_hash" not in samples.columns:
        return np.arange(len(samples), dtype=np.int64)
    pixels = samples["content_hash"].where(samples["content_hash"].notna(), samples["sample_id"])
    keys = [samples["split"], samples["label"], pixels]
    return samples.groupby(keys, sort=False, dropna=False).ngroup().to_numpy(dtype=np.int64)


def _conditions(
    samples: pd.DataFrame, controls: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[np.bool_]]:
    partitions = [
        _segment_partition(samples, column, values) for column, values in controls.items()
    ]
    check_labels(each for partition in partitions for each in partition.ids)
    return {
        name: partition.codes == code
        for partition in partitions
        for code, name in enumerate(partition.groups)
    }


def _check_columns(samples: pd.DataFrame, segments: Mapping[str, Sequence[str]]) -> None:
    missing = {"sample_id", "split", "label", *segments} - set(samples.columns)
    if missing:
        raise InputError(
            f"samples: column {', '.join(sorted(map(repr, missing)))} is missing; its columns are "
            f"{', '.join(map(repr, samples.columns))}."
        )


def _checked_labels(samples: pd.DataFrame, classes: Sequence[str]) -> NDArray[np.int64]:
    labels = samples["label"].to_numpy(dtype=np.int64)
    # Images that are looked at for false alarms are of no class, and no part of the average.
    least = NO_CLASS if ALARMS in samples else 0
    outside = labels[(labels < least) | (labels >= len(classes))]
    if outside.size:
        raise InputError(
            f"samples: label {outside[0]} is outside the model's {len(classes)} classes "
            f"(0..{len(classes) - 1}); correct the label or the model's class list."
        )
    return labels


def _segment_partition(samples: pd.DataFrame, column: str, values: Sequence[str]) -> Partition:
    position = {value: code for code, value in enumerate(values)}
    if len(position) < len(values):
        raise InputError(f"samples: segment column '{column}' has the same value twice: {values}.")
    observed = samples[column]
    odd = observed[~(observed.isin(list(position)) | observed.isna() | (observed == MISSING))]
    if len(odd):
        raise InputError(
            f"samples: segment column '{column}' holds '{odd.iloc[0]}', which is not one of "
            f"{', '.join(map(repr, values))}."
        )
    codes = observed.map(position).fillna(NO_GROUP).to_numpy(dtype=np.int64)
    return Partition(SEGMENT_LEVEL, segment_ids(column, values), codes)


def _crossed(
    by_class: Partition, by_segment: Sequence[Partition], depth: int
) -> Iterator[Partition]:
    for together in range(1, depth):
        for chosen in combinations(by_segment, together):
            segment = reduce(_cross, chosen)
            if together > 1:
                yield segment
            yield _cross(by_class, segment)


def _cross(first: Partition, second: Partition) -> Partition:
    """Intersections that hold a sample, in the order of their parts."""
    inside = (first.codes >= 0) & (second.codes >= 0)
    width = len(second.ids)
    both = np.where(inside, first.codes * width + second.codes, NO_GROUP)
    found, codes = np.unique(both, return_inverse=True)
    outside = int(found.size > 0 and found[0] == NO_GROUP)
    ids = tuple(
        first.ids[code // width].crossed(second.ids[code % width]) for code in found[outside:]
    )
    return Partition("intersection", ids, codes.reshape(-1).astype(np.int64) - outside)


def _keep(partition: Partition, kept: NDArray[np.bool_]) -> Partition:
    ids = tuple(each for each, is_kept in zip(partition.ids, kept, strict=True) if is_kept)
    new_code = np.where(kept, np.cumsum(kept) - 1, NO_GROUP)
    codes = np.where(partition.codes < 0, NO_GROUP, new_code[partition.codes])
    return Partition(partition.level, ids, codes)
