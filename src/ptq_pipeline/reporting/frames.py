"""What the report takes out of the pipelines' tables, as small typed rows and frames."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import pandas as pd

from ptq_pipeline.core.group_ids import CLASS_COLUMN, LEVELS, defined_ids
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.judgement.candidate import MeasuredCell
from ptq_pipeline.judgement.summary import SpreadCell

Cell = TypeVar("Cell", bound=MeasuredCell)


def worst_first(cells: Iterable[Cell], levels: Sequence[str] = LEVELS) -> list[Cell]:
    """Give the cells of ``levels`` by falling drop; ties keep their order."""
    return sorted(
        (cell for cell in cells if cell.level in levels), key=lambda cell: -cell.ranking_drop
    )


def worst_of_each_level(cells: Iterable[SpreadCell], each: int) -> list[SpreadCell]:
    """Give the judged groups that the candidate hurts most, every group under its worst shift.

    Args:
        cells: All cells; those not judged or of the average are passed over.
        each: Largest number of groups per level.

    Returns:
        Cells of all levels together by falling drop of the candidate.
    """
    ranked = sorted((cell for cell in cells if cell.judged), key=lambda cell: -cell.drop)
    kept: list[SpreadCell] = []
    for level in ("class", "segment", "intersection"):
        worst_by_group: dict[str, SpreadCell] = {}
        for cell in ranked:
            if cell.level == level:
                worst_by_group.setdefault(cell.group, cell)
        kept += list(worst_by_group.values())[:each]
    return sorted(kept, key=lambda cell: -cell.drop)


def shift_order(names: Iterable[str]) -> list[str]:
    """Give each shift once, ``clean`` first and the others as they first appear."""
    seen = list(dict.fromkeys(str(name) for name in names))
    return sorted(seen, key=lambda name: name != CLEAN)


def group_order(definitions: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Give ``(level, group)`` of the average, the classes in label order, and the segments."""
    segments = dict(sorted((definitions.get("segments") or {}).items()))
    known = {"classes": definitions["classes"], "segments": segments}
    levels = ("average", "class", "segment")
    return [(level, each.label) for level in levels for each in defined_ids(known, level)]


def in_group_order(
    cells: Iterable[SpreadCell], definitions: Mapping[str, Any], shifts: Sequence[str]
) -> list[SpreadCell]:
    """Give the cells by level, then label order, then shift; unknown groups by name at the end."""
    cells = list(cells)
    position = {key: index for index, key in enumerate(group_order(definitions))}
    crossed = {cell.group for cell in cells if cell.level == "intersection"}
    position |= _by_first_class(definitions, crossed)
    columns = {shift: index for index, shift in enumerate(shifts)}

    def key(cell: SpreadCell) -> tuple[int, int, str, int]:
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
    average = rows[(rows["level"] == "average") & (rows["shift"] == CLEAN)]
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


def worst_shift(cells: Iterable[SpreadCell]) -> str | None:
    """Give the shift, other than ``clean``, under which some class loses most."""
    ranked = worst_first((cell for cell in cells if cell.shift != CLEAN), ("class",))
    return ranked[0].shift if ranked else None


def classes_to_show(
    definitions: Mapping[str, Any], cells: Iterable[SpreadCell], most: int
) -> list[str]:
    """Give the classes to draw in label order: all, or the ``most`` that lose most."""
    names = [str(name) for name in definitions["classes"]]
    if len(names) <= most:
        return names
    ranked = dict.fromkeys(cell.group for cell in worst_first(cells, ("class",)))
    kept = set(list(ranked)[:most])
    return [name for name in names if name in kept]
