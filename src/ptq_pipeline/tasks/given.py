"""Outcomes that somebody else has written: a table becomes groups and paired outcomes.

Each row is one unit under one shift in one draw. Whether a unit was answered rightly is given as
``label``, ``float_answer`` and ``quantized_answer``, or as ``float_ok`` and ``quantized_ok``: 0 or
1, or scores in [0, 1]. Every column without a meaning of its own makes groups. Nothing depends on
the order of rows or columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions, SegmentColumn
from ptq_pipeline.core.grouping import build_groups
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.judgement.verdict import Source, SourceFile
from ptq_pipeline.tasks.rows import OK, Rows, class_codes

# All groups together that are judged at once.
MOST_GROUPS = 5_000


@dataclass(frozen=True)
class Crossing:
    """Whether classes are crossed with each group column, and from how many units on."""

    crossed: bool = True
    min_size: int = 20


@dataclass(frozen=True)
class Given:
    """Outcomes of a table, ready to be judged.

    Attributes:
        outcomes: Of the float model and of every draw; one trial where there are no draws.
        draws: Names of the draws in order, by trial; empty where one model was given.
        source: Where they come from.
        definitions: Classes and group columns.
    """

    outcomes: Outcomes
    draws: Mapping[str, str]
    source: Source
    definitions: GroupDefinitions

    @property
    def groups(self) -> Groups:
        """Which unit belongs to which group."""
        return self.outcomes.groups

    @property
    def chosen_on_selection(self) -> bool:
        """Whether there are units of ``selection``, which choose the candidate."""
        return bool((self.groups.split == "selection").any())


def given_outcomes(
    table: pd.DataFrame,
    what: str,
    files: Sequence[SourceFile] = (),
    crossing: Crossing | None = None,
) -> Given:
    """Pair the outcomes of a table.

    Args:
        table: Texts, NaN where nothing is said, as :func:`.read_outcome_file` gives them.
        what: What errors call the table.
        files: What it was read from.
        crossing: How groups are crossed.

    Raises:
        InputError: For a column that is missing or of no use, a unit that is answered twice or not
            at all, or rows that contradict each other.
    """
    rows, crossing = Rows(table, what), crossing or Crossing()
    rows.check_complete()
    classes, (before, after) = _sides(rows)
    cube, reference = _cubes(rows, before, after)
    _check_group_count(what, classes, rows.segments, crossing)
    (_, draws), (_, shifts) = rows.draws, rows.shifts
    digest = _digest(rows.samples, (cube, reference), (rows.kind, draws, shifts, classes))
    trials = tuple(f"{digest[:16]}-{number:05d}" for number in range(len(draws)))
    segments = {name: SegmentColumn(names=tuple(each)) for name, each in rows.segments.items()}
    groups = build_groups(
        rows.samples,
        classes,
        rows.segments,
        intersection_min_size=crossing.min_size,
        intersection_depth=2 if crossing.crossed else 1,
    )
    return Given(
        outcomes=Outcomes.of_answers(
            (trials, shifts),
            cube,
            reference,
            # What a unit is, and so what a cluster may hold, is the table's to say.
            replace(groups, whole_clusters=True),
        ),
        draws=dict(zip(trials, draws, strict=True)) if "draw" in rows.table else {},
        source=Source(files=tuple(files), sha256=digest, kind=rows.kind, units=len(rows.samples)),
        definitions=GroupDefinitions(classes=classes, segments=segments),
    )


def _sides(rows: Rows) -> tuple[tuple[str, ...], tuple[NDArray[Any], NDArray[Any]]]:
    """The classes, and per row what the float and the quantized model answer, or their scores.

    Right and wrong become answers: the label, and one further answer for all that is wrong.
    """
    classes: tuple[str, ...] = ()
    label: NDArray[Any] = np.zeros(len(rows.table), dtype=np.int32)
    if "label" in rows.table:
        rows.of_units("label")
        classes, codes = class_codes(rows)
        label = codes["label"]
    sides: tuple[NDArray[Any], NDArray[Any]]
    if rows.kind == "answers":
        sides = codes["float_answer"], codes["quantized_answer"]
    else:
        first, second = sides = rows.scores(OK[0]), rows.scores(OK[1])
        if rows.kind == "right_or_wrong":
            wrong = max(len(classes), 1)
            label = label.astype(np.int32)
            sides = np.where(first == 1, label, wrong), np.where(second == 1, label, wrong)
    own = np.zeros(rows.units[1], dtype=np.int64)
    own[rows.units[0]] = label
    rows.samples["label"] = own
    return classes, sides


def _cubes(
    rows: Rows, before: NDArray[Any], after: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Outcomes by draw, shift and unit, and those of the float model by shift and unit."""
    shape, flat = rows.shape, rows.flat
    cube, first = (np.empty(len(flat), dtype=side.dtype) for side in (after, before))
    cube[flat], first[flat] = after, before
    first = first.reshape(shape)
    if (differs := (first != first[:1]).any(axis=(0, 1))).any():
        raise InputError(
            f"{rows.what}: the float model's outcome differs between draws for "
            f"{int(differs.sum()):,} units, and there is one float model"
        )
    return cube.reshape(shape), np.ascontiguousarray(first[0])


def _check_group_count(
    what: str,
    classes: Sequence[str],
    segments: Mapping[str, Sequence[str]],
    crossing: Crossing,
) -> None:
    values = sum(map(len, segments.values()))
    groups = len(classes) + values + crossing.crossed * len(classes) * values
    if groups > MOST_GROUPS:
        most = max(segments, key=lambda name: len(segments[name]), default="label")
        way = "do not cross them (--no-cross), or " if crossing.crossed and values else ""
        raise InputError(
            f"{what}: {len(classes):,} classes and the {values:,} values of its group columns make "
            f"{groups:,} groups, and at most {MOST_GROUPS:,} are judged together; {way}leave out a "
            f"column: '{most}' has most values"
        )


def _digest(samples: pd.DataFrame, arrays: Sequence[NDArray[Any]], named: tuple[Any, ...]) -> str:
    """SHA-256 of all that the verdict follows from; units are sorted by their ids."""
    digest = hashlib.sha256(repr(named).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    for column in sorted(samples.columns):
        codes, values = pd.factorize(samples[column], sort=True)
        digest.update(repr((column, [str(value) for value in values])).encode())
        digest.update(np.ascontiguousarray(codes, dtype=np.int64).tobytes())
    return digest.hexdigest()
