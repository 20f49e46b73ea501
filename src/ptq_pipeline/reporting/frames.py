"""What the report takes out of the pipelines' tables, as small typed rows and frames."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ptq_pipeline.errors import InputError
from ptq_pipeline.reliability.group_ids import CLASS_COLUMN, defined_ids
from ptq_pipeline.reporting.formatting import is_missing

LEVELS = ("average", "class", "segment", "intersection")


@dataclass(frozen=True)
class GroupCell:
    """One group under one shift: what the candidate does and what the draws did.

    Accuracies, drops, limits and intervals are fractions; ``drop`` and ``interval`` belong to the
    candidate, ``mean_drop`` and ``worst_drop`` to the draws; all may be ``None`` if not measured.
    """

    level: str
    group: str
    shift: str
    n: int
    judged: bool
    status: str
    critical: bool
    limit: float | None = None
    float_accuracy: float | None = None
    quantized_accuracy: float | None = None
    drop: float | None = None
    interval: tuple[float, float] | None = None
    lost: int | None = None
    gained: int | None = None
    flips: int | None = None
    mean_drop: float | None = None
    worst_drop: float | None = None

    @property
    def ranking_drop(self) -> float:
        """Drop to rank by: the mean over draws, else the candidate's; unknown ranks last."""
        for value in (self.mean_drop, self.drop):
            if value is not None:
                return value
        return float("-inf")

    @property
    def over_limit(self) -> bool:
        """Whether the drop to rank by lies over the limit of a judged group."""
        return self.judged and self.limit is not None and self.ranking_drop > self.limit


def group_cells(table: pd.DataFrame) -> list[GroupCell]:
    """Read the worst-case table, one cell per row, in the table's order.

    Raises:
        InputError: If a column that every cell needs is missing.
    """
    needed = {"level", "group", "shift", "n", "judged"}
    if missing := needed - set(table.columns):
        raise InputError(
            f"worst_case_table has no column {', '.join(sorted(missing))}; run the pipeline "
            "worst_case_check again."
        )
    return [_cell(row) for row in table.to_dict("records")]


def _cell(row: Mapping[str, Any]) -> GroupCell:
    def value(name: str) -> Any:
        found = row.get(name)
        return None if is_missing(found) or found is pd.NA else found

    low, high = value("interval_low"), value("interval_high")
    whole = {name: value(name) for name in ("lost", "gained", "flips")}
    return GroupCell(
        level=str(row["level"]),
        group=str(row["group"]),
        shift=str(row["shift"]),
        n=int(row["n"]),
        judged=bool(row["judged"]),
        status=str(value("status") or ("open" if row["judged"] else "not_judged")),
        critical=bool(value("critical") or False),
        limit=value("limit"),
        float_accuracy=value("float_accuracy"),
        quantized_accuracy=value("quantized_accuracy"),
        drop=value("drop"),
        interval=None if low is None or high is None else (float(low), float(high)),
        mean_drop=value("drop_mean"),
        worst_drop=value("drop_max"),
        **{name: None if number is None else int(number) for name, number in whole.items()},
    )


def worst_first(cells: Iterable[GroupCell], levels: Sequence[str] = LEVELS) -> list[GroupCell]:
    """Give the cells of ``levels`` by falling drop; ties keep their order."""
    return sorted(
        (cell for cell in cells if cell.level in levels), key=lambda cell: -cell.ranking_drop
    )


def worst_of_each_level(cells: Iterable[GroupCell], each: int) -> list[GroupCell]:
    """Give the judged groups that the candidate hurts most, every group under its worst shift.

    Args:
        cells: All cells; those not judged, not measured or of the average are passed over.
        each: Largest number of groups per level.

    Returns:
        Cells of all levels together by falling drop of the candidate.
    """
    measured = [cell for cell in cells if cell.judged and cell.drop is not None]
    ranked = sorted(measured, key=lambda cell: -(cell.drop or 0.0))
    kept: list[GroupCell] = []
    for level in ("class", "segment", "intersection"):
        worst_by_group: dict[str, GroupCell] = {}
        for cell in ranked:
            if cell.level == level:
                worst_by_group.setdefault(cell.group, cell)
        kept += list(worst_by_group.values())[:each]
    return sorted(kept, key=lambda cell: -(cell.drop or 0.0))


def shift_order(names: Iterable[str]) -> list[str]:
    """Give each shift once, ``clean`` first and the others as they first appear."""
    seen = list(dict.fromkeys(str(name) for name in names))
    return sorted(seen, key=lambda name: name != "clean")


def group_order(definitions: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Give ``(level, group)`` of the average, the classes in label order, and the segments."""
    segments = dict(sorted((definitions.get("segments") or {}).items()))
    known = {"classes": definitions["classes"], "segments": segments}
    levels = ("average", "class", "segment")
    return [(level, each.label) for level in levels for each in defined_ids(known, level)]


def in_group_order(
    cells: Iterable[GroupCell], definitions: Mapping[str, Any], shifts: Sequence[str]
) -> list[GroupCell]:
    """Give the cells by level, then label order, then shift; unknown groups by name at the end."""
    cells = list(cells)
    position = {key: index for index, key in enumerate(group_order(definitions))}
    crossed = {cell.group for cell in cells if cell.level == "intersection"}
    position |= _by_first_class(definitions, crossed)
    columns = {shift: index for index, shift in enumerate(shifts)}

    def key(cell: GroupCell) -> tuple[int, int, str, int]:
        level = LEVELS.index(cell.level) if cell.level in LEVELS else len(LEVELS)
        place = position.get((cell.level, cell.group), len(position))
        return level, place, cell.group, columns.get(cell.shift, len(columns))

    return sorted(cells, key=key)


def _by_first_class(definitions: Mapping[str, Any], wanted: set[str]) -> dict[tuple[str, str], int]:
    """Give the place of the class of each wanted intersection with a class."""
    classes = {name: index for index, name in enumerate(definitions["classes"])}
    found: dict[tuple[str, str], int] = {}
    for each in defined_ids(definitions, "intersection") if wanted else ():
        if each.label in wanted and each.columns[0] == CLASS_COLUMN:
            found[("intersection", each.label)] = classes[each.values[0]]
        if len(found) == len(wanted):
            break
    return found


def evidence_class_drops(scores: pd.DataFrame) -> pd.DataFrame:
    """Give ``shift, group, draw, drop`` of the class rows that are evidence (audit split)."""
    rows = scores[
        (scores["role"] == "evidence") & (scores["split"] == "audit") & (scores["level"] == "class")
    ]
    return rows[["shift", "group", "draw", "drop"]].reset_index(drop=True)


def strategy_drops(scores: pd.DataFrame) -> pd.DataFrame:
    """Compare strategies on the selection split, one row per trial, the recipe's strategy first.

    Returns:
        Columns ``trial_id, strategy, role, draw, average_drop, worst_class_drop, worst_class,
        worst_shift, n``; ``average_drop`` is that of clean images, ``worst_class_drop`` the largest
        over classes and shifts, ``n`` the images of the average.
    """
    rows = scores[scores["split"] == "selection"]
    average = rows[(rows["level"] == "average") & (rows["shift"] == "clean")]
    classes = rows[rows["level"] == "class"].sort_values(
        ["trial_id", "drop", "group", "shift"], ascending=[True, False, True, True]
    )
    worst = classes.groupby("trial_id", sort=True).head(1)
    table = average[["trial_id", "strategy", "role", "draw", "drop", "n"]].rename(
        columns={"drop": "average_drop"}
    )
    named = worst[["trial_id", "drop", "group", "shift"]].rename(
        columns={"drop": "worst_class_drop", "group": "worst_class", "shift": "worst_shift"}
    )
    table = table.merge(named, on="trial_id", how="left")
    table["comparison"] = (table["role"] != "evidence").astype(int)
    table = table.sort_values(["comparison", "strategy", "draw", "trial_id"])
    return table.drop(columns="comparison").reset_index(drop=True)


def worst_shift(cells: Iterable[GroupCell]) -> str | None:
    """Give the shift, other than ``clean``, under which some class loses most."""
    ranked = worst_first((cell for cell in cells if cell.shift != "clean"), ("class",))
    return ranked[0].shift if ranked else None


def classes_to_show(
    definitions: Mapping[str, Any], cells: Iterable[GroupCell], most: int
) -> list[str]:
    """Give the classes to draw in label order: all, or the ``most`` that lose most."""
    names = [str(name) for name in definitions["classes"]]
    if len(names) <= most:
        return names
    ranked = dict.fromkeys(cell.group for cell in worst_first(cells, ("class",)))
    kept = set(list(ranked)[:most])
    return [name for name in names if name in kept]
