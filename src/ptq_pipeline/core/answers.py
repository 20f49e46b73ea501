"""Answers of many trials as what differs from the float model's: one row a trial and shift.

The float model's answers are a table with a row a unit and shift, ``float_predictions``. A trial
answers nearly all of them alike, so of its own only these are kept:

- ``answered``: which units it answered, int64, as the begin and end of each run of them among all
  units in the order of their numbers, so one pair where it answered all;
- ``sample_id``, int64, and ``predicted``, int32: the units that it answers otherwise, and how;
- ``sha256``: of the float model's answers under the shift and of these three, so that answers are
  never read beside those of another float model.

A table with every answer in a row of its own (``trial_id``, ``shift``, ``sample_id``,
``predicted``) says the same, and is read alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ptq_pipeline.core.errors import InputError

UNANSWERED = -1
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class TrialAnswers:
    """What one trial answers under one shift, beside the float model.

    Attributes:
        answered: Begin and end of every run of answered units, by position, shape (2 x runs,).
        at: Positions of the answers that differ, increasing, shape (changed,).
        predicted: These answers, int32, shape (changed,).
    """

    trial_id: str
    shift: str
    answered: IntArray
    at: IntArray
    predicted: NDArray[np.int32]

    @property
    def units(self) -> IntArray:
        """Positions of the units that it answered, increasing, shape (answered,)."""
        runs = zip(self.answered[::2].tolist(), self.answered[1::2].tolist(), strict=True)
        parts = [np.arange(begin, end) for begin, end in runs]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def count(self, before: IntArray) -> int:
        """How many units of a kind it answered; ``before`` counts them ahead of each position."""
        return int((before[self.answered[1::2]] - before[self.answered[::2]]).sum())


@dataclass(frozen=True, eq=False)
class FloatAnswers:
    """The float model's answers, and what is said beside them.

    Attributes:
        ids: Numbers of the units, increasing, int64, shape (units,).
        answers: Its answers by shift, int32, shape (units,).
    """

    ids: IntArray
    answers: Mapping[str, NDArray[np.int32]]

    @classmethod
    def of(
        cls,
        table: pd.DataFrame,
        ids: IntArray | None = None,
        shifts: Sequence[str] | None = None,
    ) -> FloatAnswers:
        """Read ``shift``, ``sample_id``, ``predicted``.

        Args:
            table: The float model's answers.
            ids: The units that it must have answered; those of the table when left out.
            shifts: The shifts under which it must have; likewise.

        Raises:
            InputError: An answer is missing, or there is one to an unknown unit.
        """
        if ids is None:
            ids = np.unique(table["sample_id"].to_numpy(dtype=np.int64))
        if shifts is None:
            shifts = list(map(str, table["shift"].unique()))
        code = {shift: position for position, shift in enumerate(shifts)}
        used = table[table["shift"].isin(list(shifts))]
        found = np.full((len(shifts), ids.size), UNANSWERED, dtype=np.int32)
        rows = used["shift"].map(code).to_numpy(dtype=np.int64)
        places = _places(used["sample_id"].to_numpy(dtype=np.int64), ids, "float_predictions")
        found[rows, places] = used["predicted"].to_numpy(dtype=np.int32)
        missing = (found == UNANSWERED).sum(axis=1)
        if np.any(missing):
            worst = int(np.argmax(missing))
            raise InputError(
                f"float_predictions: {missing[worst]} samples have no answer of the float model "
                f"under shift '{shifts[worst]}'."
            )
        return cls(ids, dict(zip(shifts, found, strict=True)))

    def places(self, sample_ids: IntArray) -> IntArray:
        """Positions of units among all.

        Raises:
            InputError: For an unknown unit.
        """
        return _places(sample_ids, self.ids, "predictions")

    def beside(
        self, trial_id: str, shift: str, places: IntArray, predicted: NDArray[np.integer]
    ) -> TrialAnswers:
        """Say what differs in the answers of one trial to the units at these positions.

        Raises:
            InputError: A unit is answered twice, or an answer is negative.
        """
        if places.size > 1 and np.any(np.diff(places) < 0):
            order = np.argsort(places, kind="stable")
            places, predicted = places[order], predicted[order]
        ends = np.diff(places)
        if np.any(ends == 0) or np.any(predicted < 0):
            raise InputError(
                "predictions: a sample is answered twice by one trial under one shift, or its "
                "answer is negative; build the table again."
            )
        breaks = np.flatnonzero(ends != 1)
        begin = places[np.concatenate([[0], breaks + 1])] if places.size else places
        end = places[np.concatenate([breaks, [places.size - 1]])] + 1 if places.size else places
        differs = np.flatnonzero(predicted != self.answers[shift][places])
        return TrialAnswers(
            trial_id,
            shift,
            np.stack([begin, end], axis=1).ravel(),
            places[differs],
            predicted[differs].astype(np.int32),
        )

    def table(self, rows: Iterable[TrialAnswers]) -> pd.DataFrame:
        """Write down what trials answered, one row each."""
        hashed = cache(self._sha256_of)
        columns: dict[str, list[object]] = {name: [] for name in COLUMNS}
        for row in rows:
            values = (row.answered, self.ids[row.at], row.predicted)
            digest = _sha256(hashed(row.shift), *values)
            named = (row.trial_id, row.shift, *values, digest)
            for name, value in zip(COLUMNS, named, strict=True):
                columns[name].append(value)
        table = pd.DataFrame(columns, dtype=object)
        return table.astype({"trial_id": "category", "shift": "category", "sha256": "str"})

    def read(self, predictions: pd.DataFrame) -> Iterator[TrialAnswers]:
        """Read a table of answers, by trial and shift in the order of first appearance.

        Raises:
            InputError: For an unknown unit, one that is answered twice, answers that were changed,
                or that were written beside another float model.
        """
        for name in ("trial_id", "shift"):
            if predictions[name].isna().any():
                raise InputError(f"predictions: a row has no '{name}'; build the table again.")
        if "sha256" not in predictions:
            yield from self._read_every_answer(predictions)
            return
        hashed = cache(self._sha256_of)
        for row in predictions.itertuples(index=False):
            values = [np.asarray(getattr(row, name), dtype) for name, dtype in _LISTS.items()]
            answered, ids, predicted = values
            if _sha256(hashed(row.shift), *values) != row.sha256:
                raise InputError(
                    f"predictions: the answers of trial '{row.trial_id}' under shift '{row.shift}' "
                    "were changed, or were not written beside these float_predictions; run the "
                    "pipeline that writes both (quantization) again."
                )
            yield TrialAnswers(row.trial_id, row.shift, answered, self.places(ids), predicted)

    def _read_every_answer(self, predictions: pd.DataFrame) -> Iterator[TrialAnswers]:
        places = self.places(predictions["sample_id"].to_numpy(dtype=np.int64))
        answers = predictions["predicted"].to_numpy(dtype=np.int32)
        named = predictions.groupby(["trial_id", "shift"], sort=False, observed=True)
        number = named.ngroup().to_numpy()
        order = np.argsort(number, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
            if rows.size:
                first = predictions.iloc[rows[0]]
                trial, shift = str(first["trial_id"]), str(first["shift"])
                yield self.beside(trial, shift, places[rows], answers[rows])

    def whole(self, row: TrialAnswers) -> NDArray[np.int32]:
        """Return what a trial answers to every unit, -1 where it answers none, shape (units,)."""
        found = np.full(len(self.ids), UNANSWERED, dtype=np.int32)
        found[row.units] = self.answers[row.shift][row.units]
        found[row.at] = row.predicted
        return found

    def of_trial(
        self, predictions: pd.DataFrame, trial_id: str, ids: ArrayLike
    ) -> dict[str, NDArray[np.int32]]:
        """Return one trial's answers to some units by shift, in the order of ``ids``.

        A unit that it has not answered is -1. Without the trial there is no shift.
        """
        places = self.places(np.asarray(ids, dtype=np.int64))
        own = predictions[predictions["trial_id"] == trial_id]
        return {row.shift: self.whole(row)[places] for row in self.read(own)}

    def _sha256_of(self, shift: str) -> bytes:
        return hashlib.sha256(self.ids.tobytes() + self.answers[shift].tobytes()).digest()


_LISTS = {"answered": np.int64, "sample_id": np.int64, "predicted": np.int32}
COLUMNS = ("trial_id", "shift", *_LISTS, "sha256")


def every_answer(predictions: pd.DataFrame, float_predictions: pd.DataFrame) -> pd.DataFrame:
    """Return each answer of some trials in a row of its own, as if none were left out.

    Returns:
        ``trial_id`` and ``shift`` as categories, ``sample_id`` int64, ``predicted`` int32.
    """
    floats = FloatAnswers.of(float_predictions)
    rows = list(floats.read(predictions))
    trials, shifts = (
        sorted({getattr(row, name) for row in rows}) for name in ("trial_id", "shift")
    )
    units = [row.units for row in rows]
    sizes = [len(each) for each in units]
    predicted = [floats.whole(row)[own] for row, own in zip(rows, units, strict=True)]
    codes = {
        name: np.repeat([names.index(getattr(row, name)) for row in rows], sizes)
        for name, names in (("trial_id", trials), ("shift", shifts))
    }
    nothing = [np.zeros(0, dtype=np.int64)]
    columns = {
        "trial_id": pd.Categorical.from_codes(codes["trial_id"], pd.Index(trials)),
        "shift": pd.Categorical.from_codes(codes["shift"], pd.Index(shifts)),
        "sample_id": floats.ids[np.concatenate(units or nothing)],
        "predicted": np.concatenate(predicted or nothing).astype(np.int32),
    }
    return pd.DataFrame(columns, copy=False)


def answers_to(
    predictions: pd.DataFrame, float_predictions: pd.DataFrame, ids: Collection[int]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Leave out all units but some; return both tables."""
    whole = FloatAnswers.of(float_predictions)
    kept = float_predictions[float_predictions["sample_id"].isin(ids)].reset_index(drop=True)
    floats = FloatAnswers.of(kept, shifts=list(whole.answers))
    inside = np.isin(whole.ids, floats.ids)
    place = np.cumsum(inside) - 1

    def parts() -> Iterator[TrialAnswers]:
        for row in whole.read(predictions):
            units = row.units[inside[row.units]]
            answers = whole.whole(row)[units]
            yield floats.beside(row.trial_id, row.shift, place[units], answers)

    return floats.table(parts()), kept


def _sha256(before: bytes, *arrays: NDArray[np.integer]) -> str:
    digest = hashlib.sha256(before)
    for array in arrays:
        digest.update(len(array).to_bytes(8, "little") + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _places(sample_ids: IntArray, ids: IntArray, table: str) -> IntArray:
    if ids.size == 0:
        raise InputError("samples: no sample is in split 'selection' or 'audit'.")
    places = np.minimum(np.searchsorted(ids, sample_ids), ids.size - 1)
    if np.any(wrong := ids[places] != sample_ids):
        raise InputError(
            f"{table}: sample {sample_ids[wrong][0]} is in neither 'selection' nor 'audit' of "
            "`samples`."
        )
    return np.asarray(places, dtype=np.int64)
