"""Which samples belong to a group, in any split."""

from collections.abc import Iterator, Mapping
from itertools import chain, combinations, product
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.errors import InputError
from ptq_pipeline.reliability.outcomes import CLEAN

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
    for name, label, segments in _groups(definitions, level):
        if name == group:
            mask = np.full(len(samples), True)
            if label is not None:
                mask &= (samples["label"] == label).to_numpy()
            for column, value in segments:
                mask &= (samples[column] == value).to_numpy()
            return mask
    known = [name for kind in ("class", "segment") for name, *_ in _groups(definitions, kind)]
    raise InputError(f"there is no group '{group}'; the groups are {', '.join(known[:40])}")


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
    if level_of(definitions, shift) == ("segment", shift):
        return CLEAN, members(samples, definitions, "segment", shift)
    return shift, np.full(len(samples), True)


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
) -> Iterator[tuple[str, int | None, tuple[Segment, ...]]]:
    """Yield name, label and segments, crossed as deeply as ``build_groups`` may cross them."""
    classes = [str(name) for name in definitions["classes"]]
    columns = [
        [(column, str(name)) for name in entry["names"]]
        for column, entry in definitions["segments"].items()
    ]
    if level == "class":
        yield from ((name, label, ()) for label, name in enumerate(classes))
    elif level == "segment":
        yield from (("=".join(segment), None, (segment,)) for segment in chain(*columns))
    else:
        for together in range(1, len(columns) + 1):
            for segments in chain(*(product(*some) for some in combinations(columns, together))):
                name = " & ".join(map("=".join, segments))
                if together > 1:
                    yield name, None, segments
                for label, of_class in enumerate(classes):
                    yield f"{of_class} & {name}", label, segments
