"""Paired outcomes of the float and the quantized model, counted by group.

An outcome is an answer, which is right or wrong, or a score in [0, 1] (the recall of one image's
pixels, a word accuracy): then a unit counts by how much of its score is lost.

Answers that differ from the float model's are few, so only those are counted per trial; the counts
that need no trial (samples, float answers that are right) are made once per shift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupKey
from ptq_pipeline.core.groups import EVALUATED_SPLITS, Groups, sizes_of_clusters
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.units import NO_CLASS

TRIAL_COLUMNS = ("trial_id", "set_id", "strategy", "role", "draw")
SCORE_COLUMNS = (
    *(*TRIAL_COLUMNS, "split", "shift", "level", "group", "n"),
    *("float_accuracy", "quantized_accuracy", "drop", "lost", "gained", "flips"),
)
UNANSWERED = -1
# Of a table of predictions; what is made on the way of so many takes some megabytes.
_ROWS_AT_A_TIME = 1 << 20


@dataclass(frozen=True)
class Outcomes:
    """What the float model and the trials answer on the same samples, one row per (trial, shift).

    Attributes:
        groups: Groups of the samples, with their labels.
        trial_ids: Trials in order of first appearance; ``shifts`` likewise.
        trial: Position in ``trial_ids`` per row, int64, shape (rows,); ``shift`` likewise.
        predicted: Class index, int32, shape (rows, samples); -1 where there is no answer. Scores
            are float64 in its place.
        reference: The same of the float model, shape (shifts, samples).
        order: Place of a condition among the shifts, after all of them; None for shifts.
    """

    groups: Groups
    trial_ids: tuple[str, ...]
    shifts: tuple[str, ...]
    trial: NDArray[np.int64]
    shift: NDArray[np.int64]
    predicted: NDArray[Any]
    reference: NDArray[Any]
    order: int | None = None

    @classmethod
    def pair(
        cls, predictions: pd.DataFrame, float_predictions: pd.DataFrame, groups: Groups
    ) -> Outcomes:
        """Pair the answers of trials with those of the float model.

        Args:
            predictions: ``trial_id``, ``shift``, ``sample_id``, ``predicted``.
            float_predictions: ``shift``, ``sample_id``, ``predicted``, for every evaluated sample.
            groups: Groups of the evaluated samples.

        Raises:
            InputError: For an unknown sample, one that is answered twice, or one that the float
                model has no answer for.
        """
        trial, trial_ids = _codes(predictions["trial_id"])
        shift, shifts = _codes(predictions["shift"])
        # A row is a trial under a shift: numbered as they appear.
        row = trial * len(shifts) + shift
        del trial, shift
        rows = np.asarray(pd.unique(row), dtype=np.int64)
        numbers = np.empty(len(trial_ids) * len(shifts), dtype=np.int64)
        numbers[rows] = np.arange(len(rows))
        size = groups.sample_ids.size
        predicted = np.full(len(rows) * size, UNANSWERED, dtype=np.int32)
        answers = predictions["predicted"].to_numpy(dtype=np.int32)
        for start in range(0, len(row), _ROWS_AT_A_TIME):
            part = slice(start, start + _ROWS_AT_A_TIME)
            ids = predictions["sample_id"].iloc[part]
            place = numbers[row[part]] * size + _positions(ids, groups, "predictions")
            predicted[place] = answers[part]
        if np.count_nonzero(predicted != UNANSWERED) != len(row):
            raise InputError(
                "predictions: a sample is answered twice by one trial under one shift, or its "
                "answer is negative; build the table again."
            )
        names = tuple(map(str, shifts))
        return cls(
            groups=groups,
            trial_ids=tuple(map(str, trial_ids)),
            shifts=names,
            trial=rows // max(len(shifts), 1),
            shift=rows % max(len(shifts), 1),
            predicted=_outcomes(predicted.reshape(len(rows), groups.sample_ids.size), groups),
            reference=_outcomes(_reference(float_predictions, groups, names), groups),
        )

    @classmethod
    def of_one(
        cls,
        trial_id: str,
        answers: Mapping[str, NDArray[np.integer]],
        reference: Mapping[str, NDArray[np.integer]],
        groups: Groups,
    ) -> Outcomes:
        """Pair the answers of one model with those of a reference, which need not be a float model.

        Both are class indices per sample of ``groups``, by shift.
        """
        shifts = tuple(answers)
        return cls(
            groups=groups,
            trial_ids=(trial_id,),
            shifts=shifts,
            trial=np.zeros(len(shifts), dtype=np.int64),
            shift=np.arange(len(shifts), dtype=np.int64),
            predicted=_outcomes(np.stack([answers[name] for name in shifts]), groups),
            reference=_outcomes(np.stack([reference[name] for name in shifts]), groups),
        )

    @property
    def graded(self) -> bool:
        """Whether outcomes are scores, so that no test of right and wrong applies to them."""
        return self.predicted.dtype.kind == "f"

    @cached_property
    def cluster_codes(self) -> dict[GroupKey, NDArray[np.int64]]:
        """Groups that are judged by clusters, see :attr:`.Groups.cluster_codes`.

        Scores are judged by clusters in all groups; a unit of its own is a cluster of one.
        """
        return self.groups.every_cluster_codes if self.graded else self.groups.cluster_codes

    @property
    def cluster_sizes(self) -> dict[GroupKey, NDArray[np.float64]]:
        """Sizes of the clusters of the groups that are judged by them."""
        return sizes_of_clusters(self.cluster_codes)

    @cached_property
    def reference_right(self) -> NDArray[Any]:
        """Whether the float model is right, or its score, shape (shifts, samples)."""
        return self.reference if self.graded else self.reference == self.groups.labels

    def losses(
        self, trial_ids: Sequence[str], shift: str, samples: NDArray[np.bool_]
    ) -> NDArray[Any]:
        """1 where an answer was lost, -1 where it was gained, else 0, shape (trials, chosen).

        Of scores it is what was lost. The trials were evaluated under the shift; ``samples`` says
        which are chosen, shape (samples,).
        """
        position = self.shifts.index(shift)
        row_of = {self.trial_ids[self.trial[r]]: r for r in np.flatnonzero(self.shift == position)}
        answers = self.predicted[[row_of[trial] for trial in trial_ids]][:, samples]
        was_right = self.reference_right[position, samples]
        if self.graded:
            return was_right - answers
        right = answers == self.groups.labels[samples]
        return was_right.astype(np.int8) - right.astype(np.int8)

    def under(self, condition: str) -> Outcomes | None:
        """The outcomes on unchanged images that meet a condition, under its name; None without."""
        if CLEAN not in self.shifts:
            return None
        rows = self.shift == self.shifts.index(CLEAN)
        number = list(self.groups.conditions).index(condition)
        return replace(
            self,
            groups=self.groups.under(condition),
            trial=self.trial[rows],
            shift=self.shift[rows],
            predicted=self.predicted[rows],
            shifts=tuple(condition if name == CLEAN else name for name in self.shifts),
            order=len(self.shifts) + number,
        )


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


def _outcomes(answers: NDArray[np.integer], groups: Groups) -> NDArray[Any]:
    """Return answers as they are; with false alarms among them scores, shape (rows, samples).

    An object that is found scores 1, and an image on which ``a`` alarms of a class count scores
    1 - a / alarms. Missing answers stay -1.
    """
    if groups.alarms is None:
        return answers.astype(np.int32, copy=False)
    right = (answers == groups.labels).astype(np.float64)
    quiet = 1 - np.minimum(answers, groups.alarms) / groups.alarms
    scores = np.where(groups.labels == NO_CLASS, quiet, right)
    return np.where(answers == UNANSWERED, float(UNANSWERED), scores)


def _codes(names: pd.Series) -> tuple[NDArray[np.int32], pd.Index]:
    """Number names as they appear; return the numbers, shape (rows,), and the names.

    Raises:
        InputError: One is missing.
    """
    found = names.astype("category").cat
    codes = found.codes.to_numpy()
    if np.any(codes < 0):
        raise InputError(f"predictions: a row has no '{names.name}'; build the table again.")
    appearing = np.asarray(pd.unique(codes), dtype=np.int64)
    numbers = np.empty(len(found.categories), dtype=np.int32)
    numbers[appearing] = np.arange(len(appearing), dtype=np.int32)
    return numbers[codes], found.categories[appearing]


def _positions(sample_ids: pd.Series, groups: Groups, table: str) -> NDArray[np.int64]:
    ids = sample_ids.to_numpy(dtype=np.int64)
    if groups.sample_ids.size == 0:
        raise InputError("samples: no sample is in split 'selection' or 'audit'.")
    positions = np.searchsorted(groups.sample_ids, ids)
    positions = np.minimum(positions, groups.sample_ids.size - 1)
    if np.any(groups.sample_ids[positions] != ids):
        wrong = ids[groups.sample_ids[positions] != ids][0]
        raise InputError(
            f"{table}: sample {wrong} is in neither 'selection' nor 'audit' of `samples`."
        )
    return positions.astype(np.int64)


def _reference(
    float_predictions: pd.DataFrame, groups: Groups, shifts: tuple[str, ...]
) -> NDArray[np.int32]:
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


def _answered_rows(outcomes: Outcomes, columns: NDArray[np.int64], split: str) -> NDArray[np.int64]:
    """Rows that answer all samples of a split; the others answer none."""
    answered = (outcomes.predicted[:, columns] != UNANSWERED).sum(axis=1)
    partial = np.flatnonzero((answered > 0) & (answered < columns.size))
    if partial.size:
        row = partial[0]
        raise InputError(
            f"predictions: trial '{outcomes.trial_ids[outcomes.trial[row]]}' answers "
            f"{answered[row]} of {columns.size} samples of split '{split}' under shift "
            f"'{outcomes.shifts[outcomes.shift[row]]}'."
        )
    return np.flatnonzero(answered == columns.size)


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


def _score_split(outcomes: Outcomes, split: str) -> pd.DataFrame:
    """Count one split; columns that begin with ``_`` say where a row comes among all."""
    groups, columns = outcomes.groups, np.flatnonzero(outcomes.groups.split == split)
    rows = _answered_rows(outcomes, columns, split)
    trial, shift = outcomes.trial[rows], outcomes.shift[rows]
    predicted = outcomes.predicted[np.ix_(rows, columns)]
    right = outcomes.reference_right[:, columns]
    # Answers that differ from the float model's: few, so only these are counted per trial.
    row, column = np.nonzero(predicted != outcomes.reference[np.ix_(shift, columns)])
    was, now = right[shift[row], column], predicted[row, column]
    lost, gained = _changes(outcomes, was, now, groups.labels[columns][column])
    right_shift, right_column = np.nonzero(right)
    graded = outcomes.graded
    height = right[right_shift, right_column] if graded else None
    parts, before = [], 0
    for partition in groups.partitions:
        codes, size = partition.codes[columns], len(partition.ids)
        changed, shape = codes[column], (len(rows), size)
        float_right = _count(right_shift, codes[right_column], (len(right), size), height)[shift]
        counts = {
            "n": np.tile(partition.count(groups.split == split), (len(rows), 1)),
            "lost": _count(row[lost], changed[lost], shape),
            "gained": _count(row[gained], changed[gained], shape),
            "flips": _count(row, changed, shape),
            "_right": float_right,
            "_row": np.repeat(np.arange(len(rows))[:, None], size, axis=1),
            "_group": np.tile(np.arange(before, before + size), (len(rows), 1)),
        }
        difference = counts["lost"] - counts["gained"]
        counts["_drop"] = _count(row, changed, shape, was - now) if graded else difference
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
