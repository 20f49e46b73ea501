"""Paired outcomes of the float and the quantized model, as what differs between them.

An outcome is an answer, which is right or wrong, or a score in [0, 1] (the recall of one image's
pixels, a word accuracy): then a unit counts by how much of its score is lost.

Answers that differ from the float model's are few, so only those are kept per trial, and what
statistics cost follows from their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from ptq_pipeline.core.answers import UNANSWERED, FloatAnswers
from ptq_pipeline.core.group_ids import GroupKey
from ptq_pipeline.core.groups import EVALUATED_SPLITS, Groups, sizes_of_clusters
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.units import NO_CLASS


@dataclass(frozen=True)
class Outcomes:
    """What the float model and the trials answer on the same samples, one row per (trial, shift).

    Attributes:
        groups: Groups of the samples, with their labels.
        trial_ids: Trials in order of first appearance; ``shifts`` likewise.
        trial: Position in ``trial_ids`` per row, int64, shape (rows,); ``shift`` likewise.
        answered: Samples of each split that a row answers, int64, shape (rows, splits).
        start: Where the changes of a row begin among all, and the end, int64, shape (rows + 1,).
        sample: Position of the sample of each change, increasing within a row, int32, shape
            (changes,).
        changed: Class index that is answered there, int32, shape (changes,). Scores are float64 in
            its place.
        reference: The same of the float model, shape (shifts, samples).
        order: Place of a condition among the shifts, after all of them; None for shifts.
    """

    groups: Groups
    trial_ids: tuple[str, ...]
    shifts: tuple[str, ...]
    trial: NDArray[np.int64]
    shift: NDArray[np.int64]
    answered: NDArray[np.int64]
    start: NDArray[np.int64]
    sample: NDArray[np.int32]
    changed: NDArray[Any]
    reference: NDArray[Any]
    order: int | None = None

    @classmethod
    def pair(
        cls, predictions: pd.DataFrame, float_predictions: pd.DataFrame, groups: Groups
    ) -> Outcomes:
        """Pair the answers of trials with those of the float model.

        Args:
            predictions: What :class:`.FloatAnswers` reads.
            float_predictions: ``shift``, ``sample_id``, ``predicted``, for every evaluated sample.
            groups: Groups of the evaluated samples.

        Raises:
            InputError: For an unknown sample, one that is answered twice, one that the float model
                has no answer for, or answers that were written beside another float model.
        """
        asked = list(map(str, predictions["shift"].dropna().unique()))
        floats = FloatAnswers.of(float_predictions, groups.sample_ids, asked)
        rows = list(floats.read(predictions))
        trials = {name: i for i, name in enumerate(dict.fromkeys(each.trial_id for each in rows))}
        shifts = {name: i for i, name in enumerate(dict.fromkeys(each.shift for each in rows))}
        splits = [groups.split == split for split in EVALUATED_SPLITS]
        before = [np.concatenate([[0], np.cumsum(inside)]) for inside in splits]
        answered = [[each.count(of_split) for of_split in before] for each in rows]
        return cls._of(
            groups,
            (tuple(trials), tuple(shifts)),
            ([trials[each.trial_id] for each in rows], [shifts[each.shift] for each in rows]),
            np.array(answered, dtype=np.int64).reshape(len(rows), len(splits)),
            [(each.at, each.predicted) for each in rows],
            np.array([floats.answers[name] for name in shifts], dtype=np.int32).reshape(
                len(shifts), groups.sample_ids.size
            ),
        )

    @classmethod
    def of_answers(
        cls,
        names: tuple[Sequence[str], Sequence[str]],
        answers: NDArray[Any],
        reference: NDArray[Any],
        groups: Groups,
    ) -> Outcomes:
        """Pair answers, or scores, that are all there.

        Args:
            names: Of the trials and of the shifts.
            answers: Class index or score, shape (trials, shifts, samples); -1 is no answer.
            reference: The same of the float model, shape (shifts, samples).
            groups: Groups of the samples.
        """
        trials, shifts = len(names[0]), len(names[1])
        splits = [groups.split == split for split in EVALUATED_SPLITS]
        changes: list[tuple[NDArray[Any], NDArray[Any]]] = []
        answered: list[list[int]] = []
        for own in answers.reshape(trials * shifts, -1):
            floats, given = reference[len(changes) % shifts], own != UNANSWERED
            at = np.flatnonzero((own != floats) & given)
            changes.append((at, own[at]))
            answered.append([int((given & inside).sum()) for inside in splits])
        return cls._of(
            groups,
            (tuple(names[0]), tuple(names[1])),
            (np.repeat(np.arange(trials), shifts), np.tile(np.arange(shifts), trials)),
            np.array(answered, dtype=np.int64).reshape(len(changes), len(splits)),
            changes,
            reference,
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
        own, other = (np.stack([each[name] for name in answers]) for each in (answers, reference))
        return cls.of_answers(([trial_id], list(answers)), own[None], other, groups)

    @classmethod
    def _of(
        cls,
        groups: Groups,
        names: tuple[tuple[str, ...], tuple[str, ...]],
        place: tuple[Any, Any],
        answered: NDArray[np.int64],
        changes: Sequence[tuple[NDArray[Any], NDArray[Any]]],
        reference: NDArray[Any],
    ) -> Outcomes:
        """Put rows together; answers of a detector become scores, which may be equal after all."""
        trial, shift = (np.asarray(each, dtype=np.int64) for each in place)
        of_float = _outcomes(reference, groups.labels, groups.alarms)
        sizes, kept = [0], []
        for row, (at, answers) in zip(shift, changes, strict=True):
            own = _outcomes(answers, groups.labels[at], groups.alarms)
            other = own != of_float[row][at]
            kept.append((at[other].astype(np.int32), own[other]))
            sizes.append(int(other.sum()))
        nothing = (np.zeros(0, dtype=np.int32), np.zeros(0, dtype=of_float.dtype))
        sample, changed = (np.concatenate(each) for each in zip(nothing, *kept, strict=True))
        return cls(
            groups=groups,
            trial_ids=names[0],
            shifts=names[1],
            trial=trial,
            shift=shift,
            answered=answered,
            start=np.cumsum(sizes, dtype=np.int64),
            sample=sample,
            changed=changed,
            reference=of_float,
        )

    @property
    def graded(self) -> bool:
        """Whether outcomes are scores, so that no test of right and wrong applies to them."""
        return self.reference.dtype.kind == "f"

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

    def changes(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The changes of some rows: in which of these rows each is, and its place among all."""
        sizes = self.start[rows + 1] - self.start[rows]
        row = np.repeat(np.arange(len(rows)), sizes)
        first = np.cumsum(sizes) - sizes
        return row, np.arange(len(row)) + (self.start[rows] - first)[row]

    def losses(self, trial_ids: Sequence[str], shift: str) -> sparse.csc_array:
        """1 where an answer was lost, -1 where it was gained, else nothing, by trial and sample.

        Of scores it is what was lost. The trials were evaluated under the shift. Shape (trials,
        samples), float64.
        """
        position = self.shifts.index(shift)
        row_of = {self.trial_ids[self.trial[r]]: r for r in np.flatnonzero(self.shift == position)}
        rows = np.array([row_of[trial] for trial in trial_ids], dtype=np.int64)
        row, place = self.changes(rows)
        sample, now = self.sample[place], self.changed[place]
        right = now if self.graded else now == self.groups.labels[sample]
        lost = self.reference_right[position, sample].astype(np.float64) - right
        real = lost != 0
        shape = len(trial_ids), len(self.groups.sample_ids)
        return sparse.csc_array((lost[real], (row[real], sample[real])), shape=shape)

    def under(self, condition: str) -> Outcomes | None:
        """The outcomes on unchanged images that meet a condition, under its name; None without."""
        if CLEAN not in self.shifts:
            return None
        rows = np.flatnonzero(self.shift == self.shifts.index(CLEAN))
        number = list(self.groups.conditions).index(condition)
        place = self.changes(rows)[1]
        return replace(
            self,
            groups=self.groups.under(condition),
            trial=self.trial[rows],
            shift=self.shift[rows],
            answered=self.answered[rows],
            start=np.cumsum([0, *(self.start[rows + 1] - self.start[rows])], dtype=np.int64),
            sample=self.sample[place],
            changed=self.changed[place],
            shifts=tuple(condition if name == CLEAN else name for name in self.shifts),
            order=len(self.shifts) + number,
        )


def _outcomes(answers: NDArray[Any], labels: NDArray[np.int64], alarms: int | None) -> NDArray[Any]:
    """Return answers as they are; with false alarms among them scores, shape (..., samples).

    An object that is found scores 1, and an image on which ``a`` alarms of a class count scores
    1 - a / alarms.
    """
    if alarms is None:
        return answers if answers.dtype.kind == "f" else answers.astype(np.int32, copy=False)
    right = (answers == labels).astype(np.float64)
    quiet = 1 - np.minimum(answers, alarms) / alarms
    return np.where(labels == NO_CLASS, quiet, right)
