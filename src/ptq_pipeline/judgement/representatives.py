"""A few groups that stand for all in a quick look, chosen without the audit.

The choice reads the float model's answers on ``pool`` and ``selection`` only, so the audit images
stay fresh for what they are asked. It can miss the group that quantization hurts most: a quick look
can refuse a recipe, it cannot pass one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from ptq_pipeline.core.documents import Count, Document
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import (
    AVERAGE_GROUP,
    GroupKey,
    Level,
    class_ids,
    segment_ids,
)
from ptq_pipeline.judgement.policy import Policy

CHOOSING_SPLITS = ("pool", "selection")


class Representative(Document):
    """One chosen group.

    Attributes:
        level: Its level.
        group: Its name.
        why: Why it was chosen.
        value: The float model's accuracy or mean margin, or the share of samples; None for the
            average and for critical groups.
        n: Samples of ``pool`` and ``selection`` behind it.
    """

    level: Level
    group: str
    why: Literal["average", "critical", "lowest_accuracy", "smallest_margin", "most_frequent"]
    value: float | None
    n: Count

    @property
    def key(self) -> GroupKey:
        """The group."""
        return self.level, self.group


def propose_representatives(
    samples: pd.DataFrame,
    profiles: pd.DataFrame,
    classes: Sequence[str],
    segments: Mapping[str, Sequence[str]],
    policy: Policy,
) -> tuple[Representative, ...]:
    """Choose groups by what the float model does on ``pool`` and ``selection``.

    Args:
        samples: ``sample_id``, ``split``, ``label`` and the segment columns.
        profiles: ``sample_id``, ``predicted`` and ``margin`` of the float model.
        classes: Class names in label order.
        segments: Segment columns with their values.
        policy: How many groups of each kind, and which are critical.

    Returns:
        The groups, none twice; empty where policy asks for none, which means all groups.

    Raises:
        InputError: If no sample of these splits has a profile.
    """
    wanted = policy.representatives
    if wanted is None:
        return ()
    known = profiles[["sample_id", "predicted", "margin"]]
    used = samples[samples["split"].isin(CHOOSING_SPLITS)].merge(known, on="sample_id")
    if used.empty:
        raise InputError(
            "profiles: no sample of split 'pool' or 'selection' has one, so no representative "
            "group can be proposed; run data_loading, or leave out `representatives`."
        )
    table = _table(used, classes, segments)
    named: list[tuple[str, str, str, float | None, int]]
    named = [("average", AVERAGE_GROUP, "average", None, len(used))]
    named += [(each.level, each.group, "critical", None, 0) for each in policy.critical]
    taken = {(level, group) for level, group, *_ in named}
    for why, column, ascending, count in (
        ("lowest_accuracy", "accuracy", True, wanted.lowest_accuracy),
        ("smallest_margin", "margin", True, wanted.smallest_margin),
        ("most_frequent", "share", False, wanted.most_frequent),
    ):
        ordered = table.sort_values([column, "level", "group"], ascending=[ascending, True, True])
        rows = ordered[["level", "group", column, "n"]].itertuples(index=False, name=None)
        free = [row for row in rows if row[:2] not in taken][:count]
        named += [(level, str(group), why, float(value), int(n)) for level, group, value, n in free]
        taken |= {row[:2] for row in free}
    keys = Representative.model_fields
    return tuple(
        Representative.model_validate(dict(zip(keys, each, strict=True))) for each in named
    )


def keep_groups(scores: pd.DataFrame, chosen: Sequence[GroupKey]) -> pd.DataFrame:
    """Scores of the chosen groups only; all of them where none was chosen."""
    if not chosen:
        return scores
    keys = pd.MultiIndex.from_frame(scores[["level", "group"]].astype(str))
    return scores[keys.isin(list(chosen))].reset_index(drop=True)


def _table(
    used: pd.DataFrame, classes: Sequence[str], segments: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Accuracy, margin and share of every class and segment value."""
    used = used.assign(right=used["predicted"] == used["label"])
    names = np.array([each.label for each in class_ids(classes)], dtype=object)
    columns = [("class", names[used["label"].to_numpy()])]
    for column, values in segments.items():
        labels = {each.values[0]: each.label for each in segment_ids(column, values)}
        columns.append(("segment", used[column].map(labels).to_numpy(dtype=object)))
    rows = []
    for level, group in columns:
        for name, part in used.groupby(pd.Series(group, index=used.index), sort=True):
            rows.append(
                {
                    "level": level,
                    "group": name,
                    "n": len(part),
                    "accuracy": part["right"].mean(),
                    "margin": part["margin"].mean(),
                    "share": len(part) / len(used),
                }
            )
    return pd.DataFrame(rows)
