"""Which samples belong to a group, in any split."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.errors import InputError

KINDS = ("class ", "segment ", "intersection ")


def members(
    samples: pd.DataFrame, definitions: Mapping[str, Any], level: str, group: str
) -> np.ndarray:
    """Tell for every sample whether it belongs to a group.

    Args:
        samples: ``label`` and one column per segment.
        definitions: ``classes`` in label order and ``segments`` with their ``names``.
        level: average, class, segment or intersection.
        group: name of the group.

    Returns:
        bool, shape ``(samples,)``.

    Raises:
        InputError: there is no such group; the message names those that there are.
    """
    if level == "average":
        return np.full(len(samples), True)
    for name, label, segment in _groups(definitions, level):
        if name == group:
            mask = np.full(len(samples), True)
            if label is not None:
                mask &= (samples["label"] == label).to_numpy()
            if segment is not None:
                mask &= (samples[segment[0]] == segment[1]).to_numpy()
            return mask
    known = [name for kind in ("class", "segment") for name, *_ in _groups(definitions, kind)]
    raise InputError(f"there is no group '{group}'; the groups are {', '.join(known[:40])}")


def level_of(definitions: Mapping[str, Any], group: str) -> tuple[str, str]:
    """Find the level of a group that somebody named, with or without its kind in front.

    Returns:
        Level and name; the level ``class`` where no group has that name.
    """
    if group in ("all", "average"):
        return "average", "all"
    for kind in KINDS:
        group = group.removeprefix(kind)
    for level in ("class", "segment", "intersection"):
        if any(name == group for name, *_ in _groups(definitions, level)):
            return level, group
    return "class", group


Segment = tuple[str, str]


def _groups(
    definitions: Mapping[str, Any], level: str
) -> Iterator[tuple[str, int | None, Segment | None]]:
    classes = [str(name) for name in definitions["classes"]]
    segments = [
        (column, str(name))
        for column, entry in definitions["segments"].items()
        for name in entry["names"]
    ]
    if level == "class":
        yield from ((name, label, None) for label, name in enumerate(classes))
    elif level == "segment":
        yield from (("=".join(segment), None, segment) for segment in segments)
    else:
        for segment in segments:
            for label, name in enumerate(classes):
                yield f"{name} & {'='.join(segment)}", label, segment
