"""The rows of a table of outcomes, checked: who was asked what, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.groups import EVALUATED_SPLITS
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.plain_text import plain, visible

ANSWERS = ("label", "float_answer", "quantized_answer")
OK = ("float_ok", "quantized_ok")
# What a column may mean; all others make groups.
ROLES = ("unit_id", "sample_id", "cluster", "shift", "draw", "split", *ANSWERS, *OK)
Kind = Literal["answers", "right_or_wrong", "scores"]
# Values of a column that anybody could look at as groups.
MOST_VALUES = 2_000
_NUMBER = r"[+-]?\d+(?:\.0*)?"
_TRUTH = {"true": "1", "false": "0"}
Codes = NDArray[np.int64]


class Rows:
    """One row per unit, shift and draw.

    Args:
        table: Texts, NaN where a cell is empty.
        what: What errors call the table.
    """

    def __init__(self, table: pd.DataFrame, what: str) -> None:
        self.table = table.rename(columns={"id": "unit_id"}).reset_index(drop=True)
        self.what = what
        self._check_names()
        given = {*ANSWERS[1:]} & {*self.table}, {*OK} & {*self.table}
        if all(given):
            raise InputError(
                f"{what} has '{min(given[0])}' and '{min(given[1])}', and right and wrong can be "
                "told by one of them only: leave out the answers or what is called ok"
            )
        wanted = OK if given[1] else ANSWERS
        if missing := [name for name in wanted if name not in self.table]:
            raise InputError(
                f"{what} has no column '{missing[0]}'; outcomes are {', '.join(ANSWERS)}, or "
                f"{' and '.join(OK)}; its columns are {', '.join(map(repr, self.table))}"
            )
        for name in wanted:
            self._check_known(name)

    def _check_names(self) -> None:
        names = list(self.table)
        for name in names:
            near = name.strip().lower().replace(" ", "_").replace("-", "_")
            if near in ROLES and near != name:
                raise InputError(
                    f"{self.what} has a column '{name}', which would be no '{near}' but groups of "
                    f"that name; write '{near}'"
                )
        if len(set(names)) < len(names):
            raise InputError(f"{self.what} has both 'id' and 'unit_id'; leave one of them")

    def _check_known(self, name: str) -> None:
        missing = self.table[name].isna()
        if missing.any():
            raise InputError(
                f"{self.what}: '{name}' is empty in {self.count(missing)}; every unit needs its "
                "outcome"
            )

    def count(self, rows: pd.Series) -> str:
        """Say how many rows these are, and which is the first, counted from 1 below the header."""
        number = int(rows.sum())
        first = int(rows.to_numpy().argmax()) + 1
        return f"row {first}" if number == 1 else f"{number:,} rows, the first is row {first}"

    @cached_property
    def kind(self) -> Kind:
        """What the outcomes are."""
        if "float_ok" not in self.table:
            return "answers"
        values = np.unique(np.concatenate([self.scores(name) for name in OK]))
        return "right_or_wrong" if set(values) <= {0.0, 1.0} else "scores"

    def scores(self, name: str) -> NDArray[np.float64]:
        """The numbers in [0, 1] of a column.

        Raises:
            InputError: For what is no such number.
        """
        texts = self.table[name].str.lower().replace(_TRUTH)
        numbers = pd.to_numeric(texts, errors="coerce").astype(np.float64)
        for wrong, why in (
            (numbers.isna(), "is no number"),
            ((numbers < 0) | (numbers > 1), "is outside [0, 1]"),
        ):
            if wrong.any():
                value = self.table[name][wrong].iloc[0]
                comma = ", and a decimal point is a point" if "," in value else ""
                raise InputError(
                    f"{self.what}: '{value}' in '{name}' {why} ({self.count(wrong)}); give 0, 1 or "
                    f"scores between them{comma}"
                )
        return numbers.to_numpy()

    @cached_property
    def units(self) -> tuple[Codes, int]:
        """Number of the unit per row, in the order of their ids, and how many there are."""
        if "unit_id" not in self.table:
            if several := [name for name in ("draw", "shift") if name in self.table]:
                raise InputError(
                    f"{self.what} has a column '{several[0]}' and no 'unit_id': without it nobody "
                    "can say which rows are the same unit"
                )
            return np.arange(len(self.table)), len(self.table)
        self._check_known("unit_id")
        codes, ids = pd.factorize(self.table["unit_id"], sort=True)
        return codes.astype(np.int64), len(ids)

    def named(self, name: str, default: str) -> tuple[Codes, tuple[str, ...]]:
        """Number per row of what a column names, and the names; ``default`` where there is none."""
        if name not in self.table:
            return np.zeros(len(self.table), dtype=np.int64), (default,)
        self._check_known(name)
        names = in_order(self.table[name].unique())
        _check_plain(self.what, name, names)
        return pd.Categorical(self.table[name], names).codes.astype(np.int64), tuple(names)

    @cached_property
    def draws(self) -> tuple[Codes, tuple[str, ...]]:
        """Draw per row, and their names."""
        return self.named("draw", "")

    @cached_property
    def shifts(self) -> tuple[Codes, tuple[str, ...]]:
        """Shift per row, and their names: clean units first."""
        codes, names = self.named("shift", CLEAN)
        order = sorted(range(len(names)), key=lambda i: names[i] != CLEAN)
        return np.argsort(order)[codes], tuple(names[i] for i in order)

    @property
    def shape(self) -> tuple[int, int, int]:
        """How many draws, shifts and units there are."""
        return len(self.draws[1]), len(self.shifts[1]), self.units[1]

    @cached_property
    def flat(self) -> Codes:
        """Place of each row among draws, shifts and units."""
        (draw, _), (shift, shifts), (place, units) = self.draws, self.shifts, self.units
        return (draw * len(shifts) + shift) * units + place

    def check_complete(self) -> None:
        """Check that each unit is answered once under every shift in every draw.

        Raises:
            InputError: For a unit that is answered twice, or not at all.
        """
        draws, shifts, (place, units) = self.draws[1], self.shifts[1], self.units
        flat = self.flat
        found = np.bincount(flat, minlength=len(draws) * len(shifts) * units)
        if (found > 1).any():
            rows = np.flatnonzero(found[flat] > 1)
            first, second = np.flatnonzero(flat == flat[rows[0]])[:2] + 1
            raise InputError(
                f"{self.what}: {int((found > 1).sum()):,} units are answered twice; the first is "
                f"{self._unit(rows[0])} in rows {first} and {second}"
            )
        if (found == 0).any():
            gap = int(np.flatnonzero(found == 0)[0])
            row = int(np.flatnonzero(place == gap % units)[0])
            where = f"shift '{shifts[gap // units % len(shifts)]}'"
            where += f" of draw '{draws[gap // units // len(shifts)]}'" if draws != ("",) else ""
            raise InputError(
                f"{self.what}: {int((found == 0).sum()):,} answers are missing; the first is that "
                f"of {self._unit(row)} under {where}: every unit is answered under every shift in "
                "every draw; what other units were asked is a group column, no shift"
            )

    def _unit(self, row: int) -> str:
        return f"unit '{visible(self.table['unit_id'][row])}'"

    def of_units(self, name: str) -> pd.Series:
        """The value of a column per unit.

        Raises:
            InputError: Two rows of one unit contradict each other.
        """
        place, units = self.units
        first = np.zeros(units, dtype=np.int64)
        first[place[::-1]] = np.arange(len(place))[::-1]
        own = self.table[name].fillna("")
        values = own.iloc[first].reset_index(drop=True)
        wrong = values.iloc[place].to_numpy() != own.to_numpy()
        if wrong.any():
            row = int(wrong.argmax())
            raise InputError(
                f"{self.what}: {self._unit(row)} has '{name}' '{values[place[row]]}' in row "
                f"{first[place[row]] + 1} and '{own[row]}' in row {row + 1}"
            )
        return values.where(values != "")

    @cached_property
    def samples(self) -> pd.DataFrame:
        """What is known of each unit: ``sample_id`` (its number), split, cluster and groups."""
        units = self.units[1]
        found = pd.DataFrame({"sample_id": np.arange(units), "split": "audit"})
        if "split" in self.table:
            found["split"] = self.of_units("split").fillna("audit")
            if odd := sorted(set(found["split"]) - {*EVALUATED_SPLITS}):
                raise InputError(
                    f"{self.what}: split '{odd[0]}' is none of {', '.join(EVALUATED_SPLITS)}: the "
                    "candidate is chosen on one and judged on the other"
                )
            if not (found["split"] == "audit").any():
                raise InputError(f"{self.what}: no unit is of split 'audit', which is judged")
        if (clusters := self._clusters()) is not None:
            found["cluster"] = clusters
        for name in self.table:
            if name not in ROLES:
                found[name] = self.of_units(name)
        return found

    def _clusters(self) -> pd.Series | None:
        """Units of one cluster, or else of one sample, belong together."""
        both = [name for name in ("cluster", "sample_id") if name in self.table]
        if not both:
            return None
        own = [self.of_units(name) for name in both]
        if len(both) == 1:
            return own[0]
        cluster, sample = own
        pairs = pd.DataFrame({"sample": sample, "cluster": cluster}).dropna().drop_duplicates()
        if (twice := pairs["sample"].duplicated()).any():
            name = pairs["sample"][twice].iloc[0]
            raise InputError(f"{self.what}: the units of sample '{name}' are in several clusters")
        return cluster.where(cluster.notna(), "sample " + sample)

    @cached_property
    def segments(self) -> dict[str, tuple[str, ...]]:
        """Values of each group column.

        Raises:
            InputError: For a column that is empty, or has too many values to be groups.
        """
        found = {}
        for name in self.table:
            if name in ROLES:
                continue
            values = self.samples[name].dropna().unique()
            if not len(values):
                raise InputError(f"{self.what}: the group column '{name}' is empty; remove it")
            if len(values) > MOST_VALUES:
                raise InputError(
                    f"{self.what}: column '{name}' has {len(values):,} values, too many to be "
                    "groups; leave it out (--ignore), or, if units of one value belong together, "
                    "call it 'cluster'"
                )
            _check_plain(self.what, name, values)
            found[name] = tuple(in_order(values))
        return found


def _check_plain(what: str, column: str, names: Iterable[str]) -> None:
    """Check that names can be shown on a line, in a terminal and in a page.

    Raises:
        InputError: One holds a control character.
    """
    plain(f"{what}: the name of column '{visible(column)}'", column)
    for name in names:
        plain(f"{what}: '{visible(name)[:40]}' in column '{column}'", name)


def in_order(names: Sequence[str] | NDArray[np.object_]) -> list[str]:
    """Names in the order of their numbers, where all are numbers, or else of their letters."""
    texts = [str(name) for name in names]
    numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce")
    if numbers.notna().all():
        return [texts[i] for i in np.lexsort((texts, numbers))]
    return sorted(texts)


def class_codes(rows: Rows) -> tuple[tuple[str, ...], dict[str, NDArray[np.int32]]]:
    """Classes in order, and each column of labels and answers as numbers.

    An answer that is no label has a number of its own, beyond those of the classes.

    Raises:
        InputError: Labels are numbers and answers are names, or there is one class only.
    """
    columns = [name for name in ANSWERS if name in rows.table]
    texts = {name: rows.table[name] for name in columns}
    values = {name: pd.Series(texts[name].unique(), dtype="str") for name in columns}
    numeric = {name: each.str.fullmatch(_NUMBER) for name, each in values.items()}
    if all(each.all() for each in numeric.values()):
        # 3, 03 and 3.0 are one class.
        for name in columns:
            plain = pd.to_numeric(values[name]).astype("int64").astype(str)
            texts[name] = texts[name].map(dict(zip(values[name], plain, strict=True)))
    elif clash := [name for name in columns[1:] if numeric[name].all() != numeric["label"].all()]:
        here, there = sorted(("label", clash[0]), key=lambda name: not numeric[name].all())
        # Names among numbers may be answers that are no class.
        if not numeric[there].any():
            raise InputError(
                f"{rows.what}: '{here}' holds numbers, such as '{texts[here].iloc[0]}', and "
                f"'{there}' names, such as '{texts[there].iloc[0]}'; write all by one of them"
            )
    classes = in_order(texts["label"].unique())
    if len(classes) == 1:
        raise InputError(
            f"{rows.what}: 'label' is '{classes[0]}' in every row, and with one class no answer "
            "can be wrong but by chance; give all units that were asked, or float_ok and "
            "quantized_ok in the place of answers"
        )
    if len(classes) > MOST_VALUES:
        raise InputError(
            f"{rows.what}: 'label' has {len(classes):,} values, too many to be classes; for free "
            "answers give float_ok and quantized_ok in the place of label and answers"
        )
    _check_plain(rows.what, "label", classes)
    others = set().union(*(set(texts[name].unique()) for name in columns[1:])) - set(classes)
    known = pd.Index([*classes, *sorted(others)])
    return tuple(classes), {
        name: known.get_indexer(pd.Index(texts[name])).astype(np.int32) for name in columns
    }
