"""Outcomes counted by group, under every shift and condition.

What needs no trial (samples, float answers that are right) is counted once per shift; of each trial
only the answers that changed are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.groups import EVALUATED_SPLITS, Groups, Partition
from ptq_pipeline.core.outcomes import Outcomes

TRIAL_COLUMNS = ("trial_id", "set_id", "strategy", "role", "draw")
SCORE_COLUMNS = (
    *(*TRIAL_COLUMNS, "split", "shift", "level", "group", "n"),
    *("float_accuracy", "quantized_accuracy", "drop", "lost", "gained", "flips"),
)
# Changes that are counted together; what is made of so many on the way takes some megabytes.
_AT_A_TIME = 1 << 21


def score(
    predictions: pd.DataFrame,
    float_predictions: pd.DataFrame,
    groups: Groups,
    trials: pd.DataFrame,
) -> pd.DataFrame:
    """Score every trial under every shift for every group.

    Args:
        predictions: ``trial_id``, ``shift``, ``sample_id``, ``predicted``. A trial answers all
            samples of a split or none of them.
        float_predictions: ``shift``, ``sample_id``, ``predicted``, for every evaluated sample.
        groups: Groups of the evaluated samples.
        trials: ``trial_id``, ``set_id``, ``strategy``, ``role``, ``draw``, ``status``.

    Returns:
        What :func:`tally` counts, with the columns ``SCORE_COLUMNS``. Failed trials have no rows.

    Raises:
        InputError: For an unknown trial, shift or sample, an answer given twice, or a split that a
            trial answered in part.
    """
    done = trials[trials["status"] == "done"]
    unknown = pd.Index(predictions["trial_id"].unique()).difference(pd.Index(done["trial_id"]))
    if len(unknown):
        raise InputError(f"predictions: trial '{unknown[0]}' is not a finished trial of `trials`.")
    scores = tally(Outcomes.pair(predictions, float_predictions, groups))
    if scores.empty:
        return pd.DataFrame(columns=list(SCORE_COLUMNS))
    scores = scores.merge(done[list(TRIAL_COLUMNS)], on="trial_id", how="left", validate="m:1")
    # Comparisons inform choices, and choices never see the audit.
    hidden = (scores["role"] == "comparison") & (scores["split"] == "audit")
    scores = scores[~hidden].reset_index(drop=True)
    return scores[list(SCORE_COLUMNS)]


def tally(outcomes: Outcomes) -> pd.DataFrame:
    """Count outcomes by trial, split, shift and group.

    Returns:
        One row per trial, split, shift and group that has samples, then the same under every
        condition of a control column: counts are int64, accuracies and ``drop`` fractions.

    Raises:
        InputError: For a split that a trial answered in part.
    """
    conditions = [outcomes.under(name) for name in outcomes.groups.conditions]
    parts = [
        _score_split(each, split)
        for each in (outcomes, *conditions)
        if each is not None
        for split in EVALUATED_SPLITS
        if np.any(outcomes.groups.split == split)
    ]
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame()
    order = ["_trial", "_split", "_shift", "_group"]
    scores = pd.concat(parts, ignore_index=True).sort_values(order, ignore_index=True)
    return scores.drop(columns=order)


def _answered_rows(outcomes: Outcomes, split: str) -> NDArray[np.int64]:
    """Rows that answer all samples of a split; the others answer none."""
    answered = outcomes.answered[:, EVALUATED_SPLITS.index(split)]
    size = int((outcomes.groups.split == split).sum())
    partial = np.flatnonzero((answered > 0) & (answered < size))
    if partial.size:
        row = partial[0]
        raise InputError(
            f"predictions: trial '{outcomes.trial_ids[outcomes.trial[row]]}' answers "
            f"{answered[row]} of {size} samples of split '{split}' under shift "
            f"'{outcomes.shifts[outcomes.shift[row]]}'."
        )
    return np.flatnonzero(answered == size)


def _count(
    row: NDArray[np.int64],
    code: NDArray[np.int64],
    shape: tuple[int, int],
    weights: NDArray[np.float64] | None = None,
) -> NDArray[Any]:
    """Count by row and group, int64, or add weights; of this shape; a negative code is no group."""
    inside = code >= 0
    flat = row[inside] * shape[1] + code[inside]
    each = None if weights is None else weights[inside]
    found = np.bincount(flat, weights=each, minlength=shape[0] * shape[1]).reshape(shape)
    return found.astype(np.int64) if weights is None else found


def _parts(outcomes: Outcomes, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Divide rows so that their changes can be counted together."""
    sizes = outcomes.start[rows + 1] - outcomes.start[rows]
    number = (np.cumsum(sizes) - sizes) // _AT_A_TIME
    yield from np.split(rows, np.flatnonzero(np.diff(number)) + 1)


def _count_rows(
    outcomes: Outcomes, rows: NDArray[np.int64], split: str, partitions: tuple[Partition, ...]
) -> list[dict[str, NDArray[Any]]]:
    """Count the changes of some rows in one split, by partition, each shape (rows, groups)."""
    groups = outcomes.groups
    row, place = outcomes.changes(rows)
    here = groups.split[outcomes.sample[place]] == split
    row, place = row[here], place[here]
    sample, now = outcomes.sample[place], outcomes.changed[place]
    was = outcomes.reference_right[outcomes.shift[rows][row], sample]
    lost, gained = _changes(outcomes, was, now, groups.labels[sample])
    found = []
    for partition in partitions:
        code, shape = partition.codes[sample], (len(rows), len(partition.ids))
        counts = {
            "lost": _count(row[lost], code[lost], shape),
            "gained": _count(row[gained], code[gained], shape),
            "flips": _count(row, code, shape),
        }
        difference = counts["lost"] - counts["gained"]
        counts["_drop"] = _count(row, code, shape, was - now) if outcomes.graded else difference
        found.append(counts)
    return found


def _float_right(outcomes: Outcomes, split: str, partition: Partition) -> NDArray[Any]:
    """Right answers of the float model, or its scores, by shift and group."""
    here = np.flatnonzero(outcomes.groups.split == split)
    right = outcomes.reference_right[:, here]
    shift, column = np.nonzero(right)
    height = right[shift, column] if outcomes.graded else None
    shape = len(right), len(partition.ids)
    return _count(shift, partition.codes[here][column], shape, height)


def _score_split(outcomes: Outcomes, split: str) -> pd.DataFrame:
    """Count one split; columns that begin with ``_`` say where a row comes among all."""
    groups, rows = outcomes.groups, _answered_rows(outcomes, split)
    trial, shift, partitions = outcomes.trial[rows], outcomes.shift[rows], groups.partitions
    counted = [_count_rows(outcomes, part, split, partitions) for part in _parts(outcomes, rows)]
    parts, before = [], 0
    for number, partition in enumerate(partitions):
        size = len(partition.ids)
        own = [each[number] for each in counted]
        counts = {
            "n": np.tile(partition.count(groups.split == split), (len(rows), 1)),
            **{name: np.concatenate([each[name] for each in own]) for name in own[0]},
            "_right": _float_right(outcomes, split, partition)[shift],
            "_row": np.repeat(np.arange(len(rows))[:, None], size, axis=1),
            "_group": np.tile(np.arange(before, before + size), (len(rows), 1)),
        }
        table = pd.DataFrame({name: each.ravel() for name, each in counts.items()})
        names = np.tile(np.asarray(partition.groups, dtype=object), len(rows))
        parts.append(table.assign(level=partition.level, group=names))
        before += size
    table = pd.concat(parts, ignore_index=True)
    table = table[table["n"] > 0]
    n, place = table["n"], table.pop("_row").to_numpy()
    float_right, drop = table.pop("_right"), table.pop("_drop")
    return table.assign(
        float_accuracy=float_right / n,
        quantized_accuracy=(float_right - drop) / n,
        drop=drop / n,
        trial_id=np.asarray(outcomes.trial_ids, dtype=object)[trial[place]],
        shift=np.asarray(outcomes.shifts, dtype=object)[shift[place]],
        split=split,
        _trial=trial[place],
        _shift=shift[place] if outcomes.order is None else outcomes.order,
        _split=EVALUATED_SPLITS.index(split),
    )


def _changes(
    outcomes: Outcomes, was: NDArray[Any], now: NDArray[Any], labels: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of outcomes that changed, which were lost and which gained; ``was`` is right, or a score."""
    return (now < was, now > was) if outcomes.graded else (was, now == labels)
