"""Which samples belong to a group, in any split."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import AVERAGE_GROUP, CLASS_COLUMN, GroupId, defined_ids
from ptq_pipeline.core.names import CLEAN

LEVELS = ("class", "segment", "intersection")


def members(
    samples: pd.DataFrame, definitions: Mapping[str, Any], level: str, group: str
) -> np.ndarray:
    """Tell for every sample whether it belongs to a group.

    Args:
        samples: ``label`` and one column per segment.
        definitions: ``classes`` in label order and ``segments`` with their ``names``.
        level: average, class, segment or intersection.
        group: label of the group.

    Returns:
        bool, shape ``(samples,)``.

    Raises:
        InputError: there is no such group, and the message names those that there are; or there
            are two.
    """
    found = list(_called(definitions, level, group))
    if len(found) > 1:
        raise InputError(
            f"two groups are called '{group}': {found[0].described}, and {found[1].described}; "
            "rename a class, column or value"
        )
    if not found:
        known = [each.label for kind in LEVELS[:2] for each in defined_ids(definitions, kind)]
        raise InputError(f"there is no group '{group}'; the groups are {', '.join(known[:40])}")
    classes = list(definitions["classes"])
    mask = np.full(len(samples), True)
    for column, value in zip(found[0].columns, found[0].values, strict=True):
        wanted = classes.index(value) if column == CLASS_COLUMN else value
        mask &= (samples[column] == wanted).to_numpy()
    return mask


def under_condition(
    samples: pd.DataFrame, definitions: Mapping[str, Any], shift: str
) -> tuple[str, np.ndarray]:
    """Tell under which shift images are seen, and which of them count.

    Args:
        samples: as for :func:`members`.
        definitions: as for :func:`members`.
        shift: a shift of the images, or the value of a control column (``store=Lyon``), which is
            looked at on unchanged images.

    Returns:
        The shift of the images, and bool of shape ``(samples,)``.
    """
    controls = {
        column: entry for column, entry in definitions["segments"].items() if entry.get("control")
    }
    only = {"classes": [], "segments": controls}
    if any(_called(only, "segment", shift)):
        return CLEAN, members(samples, only, "segment", shift)
    return shift, np.full(len(samples), True)


def level_of(definitions: Mapping[str, Any], group: str) -> tuple[str, str]:
    """Find the level of a group that somebody named, with or without its level in front.

    Returns:
        Level and label; where no group has that name the level in front of it, or ``class``.

    Raises:
        InputError: groups of two levels have that name.
    """
    if group in (AVERAGE_GROUP, "average"):
        return "average", AVERAGE_GROUP
    found = [level for level in LEVELS if any(_called(definitions, level, group))]
    if len(found) > 1:
        raise InputError(
            f"a {found[0]} and a {found[1]} are called '{group}': write '{found[0]} {group}' or "
            f"'{found[1]} {group}'"
        )
    if found:
        return found[0], group
    for level in LEVELS:
        name = group.removeprefix(f"{level} ")
        if name != group:
            return level, name
    return "class", group


def _called(definitions: Mapping[str, Any], level: str, label: str) -> Iterator[GroupId]:
    return (each for each in defined_ids(definitions, level) if each.label == label)
