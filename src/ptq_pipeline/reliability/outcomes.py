"""Paired outcomes of the float and the quantized model, counted by group.

Answers that differ from the float model's are few, so only those are counted per trial; the counts
that need no trial (samples, float answers that are right) are made once per shift.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.errors import InputError
from ptq_pipeline.reliability.groups import EVALUATED_SPLITS, Groups

TRIAL_COLUMNS = ("trial_id", "set_id", "strategy", "role", "draw")
SCORE_COLUMNS = (
    *TRIAL_COLUMNS,
    "split",
    "shift",
    "level",
    "group",
    "n",
    "float_accuracy",
    "quantized_accuracy",
    "drop",
    "lost",
    "gained",
    "flips",
)
UNANSWERED = -1
# The shift that leaves images as they are; conditions of control columns are looked at under it.
CLEAN = "clean"


@dataclass(frozen=True)
class Answers:
    """Predictions laid out as one row per (trial, shift).

    Attributes:
        trial: Position in ``trial_ids`` per row.
        shift: Position in ``shifts`` per row.
        predicted: Class index, int32, shape (rows, samples); -1 where there is no answer.
        trial_ids: Trials in order of first appearance.
        shifts: Shifts in order of first appearance.
        order: Place of a condition among the shifts, after all of them; None for shifts.
    """

    trial: NDArray[np.int64]
    shift: NDArray[np.int64]
    predicted: NDArray[np.int32]
    trial_ids: tuple[str, ...]
    shifts: tuple[str, ...]
    order: int | None = None


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
        One row per trial, split, shift and group that has samples, then the same under every
        condition of a control column, with the columns ``SCORE_COLUMNS``: counts are int64,
        accuracies and ``drop`` fractions. Failed trials have no rows.

    Raises:
        InputError: For an unknown trial, shift or sample, an answer given twice, or a split that a
            trial answered in part.
    """
    done = trials[trials["status"] == "done"]
    unknown = pd.Index(predictions["trial_id"].unique()).difference(pd.Index(done["trial_id"]))
    if len(unknown):
        raise InputError(f"predictions: trial '{unknown[0]}' is not a finished trial of `trials`.")
    answers = lay_out(predictions, groups)
    reference = lay_out_float(float_predictions, groups, answers.shifts)
    scored = [(answers, reference, groups)]
    for number, condition in enumerate(groups.conditions):
        unchanged = _as_condition(answers, condition, number)
        if unchanged is not None:
            scored.append((unchanged, reference, groups.under(condition)))
    parts = [
        _score_split(*each, split, position)
        for each in scored
        for position, split in enumerate(EVALUATED_SPLITS)
        if np.any(groups.split == split)
    ]
    parts = [part for part in parts if part is not None]
    if not parts:
        return pd.DataFrame(columns=list(SCORE_COLUMNS))
    scores = pd.concat(parts, ignore_index=True)
    order = ["_trial", "_split", "_shift", "_group"]
    scores = scores.sort_values(order, ignore_index=True).drop(columns=order)
    scores = scores.merge(done[list(TRIAL_COLUMNS)], on="trial_id", how="left", validate="m:1")
    # Comparisons inform choices, and choices never see the audit.
    hidden = (scores["role"] == "comparison") & (scores["split"] == "audit")
    scores = scores[~hidden].reset_index(drop=True)
    return scores[list(SCORE_COLUMNS)]


def _as_condition(answers: Answers, condition: str, number: int) -> Answers | None:
    """The answers on unchanged images, under the name of a condition; None without any."""
    if CLEAN not in answers.shifts:
        return None
    rows = answers.shift == answers.shifts.index(CLEAN)
    names = list(answers.shifts)
    names[answers.shifts.index(CLEAN)] = condition
    return replace(
        answers,
        trial=answers.trial[rows],
        shift=answers.shift[rows],
        predicted=answers.predicted[rows],
        shifts=tuple(names),
        order=len(names) + number,
    )


def _positions(sample_ids: pd.Series, groups: Groups, table: str) -> NDArray[np.int64]:
    ids = sample_ids.to_numpy(dtype=np.int64)
    if groups.sample_ids.size == 0:
        raise InputError("samples: no sample stands in split 'selection' or 'audit'.")
    positions = np.searchsorted(groups.sample_ids, ids)
    positions = np.minimum(positions, groups.sample_ids.size - 1)
    if np.any(groups.sample_ids[positions] != ids):
        wrong = ids[groups.sample_ids[positions] != ids][0]
        raise InputError(
            f"{table}: sample {wrong} stands in neither 'selection' nor 'audit' of `samples`."
        )
    return positions.astype(np.int64)


def lay_out(predictions: pd.DataFrame, groups: Groups) -> Answers:
    """Arrange predictions as one row per trial and shift.

    Raises:
        InputError: For an unknown sample or one that is answered twice.
    """
    trial, trial_ids = pd.factorize(predictions["trial_id"])
    shift, shifts = pd.factorize(predictions["shift"])
    positions = _positions(predictions["sample_id"], groups, "predictions")
    row, rows = pd.factorize(trial.astype(np.int64) * len(shifts) + shift)
    flat = row.astype(np.int64) * groups.sample_ids.size + positions
    predicted = np.full(len(rows) * groups.sample_ids.size, UNANSWERED, dtype=np.int32)
    predicted[flat] = predictions["predicted"].to_numpy(dtype=np.int32)
    if np.count_nonzero(predicted != UNANSWERED) != len(flat):
        raise InputError(
            "predictions: a sample is answered twice by one trial under one shift, or its answer "
            "is negative; build the table again."
        )
    return Answers(
        np.asarray(rows, dtype=np.int64) // max(len(shifts), 1),
        np.asarray(rows, dtype=np.int64) % max(len(shifts), 1),
        predicted.reshape(len(rows), groups.sample_ids.size),
        tuple(map(str, trial_ids)),
        tuple(map(str, shifts)),
    )


def lay_out_float(
    float_predictions: pd.DataFrame, groups: Groups, shifts: tuple[str, ...]
) -> NDArray[np.int32]:
    """Arrange the float model's answers as one row per shift.

    Raises:
        InputError: For a sample that is unknown or has no answer.
    """
    code = {shift: position for position, shift in enumerate(shifts)}
    used = float_predictions[float_predictions["shift"].isin(shifts)]
    reference = np.full((len(shifts), groups.sample_ids.size), UNANSWERED, dtype=np.int32)
    rows = used["shift"].map(code).to_numpy(dtype=np.int64)
    positions = _positions(used["sample_id"], groups, "float_predictions")
    reference[rows, positions] = used["predicted"].to_numpy(dtype=np.int32)
    missing = (reference == UNANSWERED).sum(axis=1)
    if np.any(missing):
        worst = int(np.argmax(missing))
        raise InputError(
            f"float_predictions: {missing[worst]} samples have no answer of the float model under "
            f"shift '{shifts[worst]}'."
        )
    return reference


def _score_split(
    answers: Answers, reference: NDArray[np.int32], groups: Groups, split: str, position: int
) -> pd.DataFrame | None:
    columns = np.flatnonzero(groups.split == split)
    predicted = answers.predicted[:, columns]
    answered = (predicted != UNANSWERED).sum(axis=1)
    partial = (answered > 0) & (answered < columns.size)
    if np.any(partial):
        row = int(np.flatnonzero(partial)[0])
        raise InputError(
            f"predictions: trial '{answers.trial_ids[answers.trial[row]]}' answers {answered[row]} "
            f"of {columns.size} samples of split '{split}' under shift "
            f"'{answers.shifts[answers.shift[row]]}'."
        )
    rows = np.flatnonzero(answered == columns.size)
    if rows.size == 0:
        return None
    labels = groups.labels[columns]
    float_answers = reference[:, columns]
    float_right = float_answers == labels
    flip_row, flip_column = np.nonzero(predicted[rows] != float_answers[answers.shift[rows]])
    now_right = predicted[rows][flip_row, flip_column] == labels[flip_column]
    was_right = float_right[answers.shift[rows][flip_row], flip_column]
    parts, first = [], 0
    for partition in groups.partitions:
        codes, size = partition.codes[columns], len(partition.groups)
        counter = _Counter(flip_row, codes[flip_column], rows.size, size)
        part = {
            "n": np.tile(np.bincount(codes[codes >= 0], minlength=size), (rows.size, 1)),
            "float_right": _right_by_group(float_right, codes, size)[answers.shift[rows]],
            "lost": counter.count(was_right & ~now_right),
            "gained": counter.count(~was_right & now_right),
            "flips": counter.count(np.ones(flip_row.size, dtype=np.bool_)),
        }
        flat = pd.DataFrame({name: np.asarray(values).ravel() for name, values in part.items()})
        flat["level"] = partition.level
        flat["group"] = np.tile(np.asarray(partition.groups, dtype=object), rows.size)
        flat["_row"] = np.repeat(rows, size)
        flat["_group"] = np.tile(np.arange(first, first + size), rows.size)
        first += size
        parts.append(flat[flat["n"] > 0])
    return _finish(pd.concat(parts, ignore_index=True), answers, split, position)


@dataclass(frozen=True)
class _Counter:
    """Counts changed answers by (row, group)."""

    row: NDArray[np.int64]
    code: NDArray[np.int64]
    rows: int
    groups: int

    def count(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        used = mask & (self.code >= 0)
        flat = self.row[used] * self.groups + self.code[used]
        counts = np.bincount(flat, minlength=self.rows * self.groups)
        return counts.reshape(self.rows, self.groups).astype(np.int64)


def _right_by_group(
    right: NDArray[np.bool_], codes: NDArray[np.int64], groups: int
) -> NDArray[np.int64]:
    inside = codes >= 0
    counts = [np.bincount(codes[inside & row], minlength=groups) for row in right]
    return np.asarray(counts, dtype=np.int64).reshape(len(right), groups)


def _finish(table: pd.DataFrame, answers: Answers, split: str, position: int) -> pd.DataFrame:
    row = table.pop("_row").to_numpy()
    float_right = table.pop("float_right")
    table["float_accuracy"] = float_right / table["n"]
    table["quantized_accuracy"] = (float_right - table["lost"] + table["gained"]) / table["n"]
    table["drop"] = (table["lost"] - table["gained"]) / table["n"]
    table["trial_id"] = np.asarray(answers.trial_ids, dtype=object)[answers.trial[row]]
    table["shift"] = np.asarray(answers.shifts, dtype=object)[answers.shift[row]]
    table["split"] = split
    table["_trial"] = answers.trial[row]
    table["_shift"] = answers.shift[row] if answers.order is None else answers.order
    table["_split"] = position
    return table
