"""Groups against shifts: mean drop over draws, printed in every cell."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.patches import Rectangle

from ptq_pipeline.core.group_ids import CellKey, GroupKey
from ptq_pipeline.judgement.summary import SpreadCell
from ptq_pipeline.reporting.figures.style import (
    MUTED,
    ReportFigure,
    figure_texts,
    new_figure,
    row_name,
    styled,
)
from ptq_pipeline.reporting.results import AuditTables, ReportingParameters
from ptq_pipeline.reporting.texts import Texts, count, points

# Blue for gains, white for no change, brown-orange for losses: apart for all kinds of colour
# blindness, and dark enough at the end only, so that most values are on a light cell.
COLOURS = LinearSegmentedColormap.from_list(
    "drops", ["#2b6ca3", "#7fb2d6", "#cfe1ee", "#f7f7f5", "#f8d3ab", "#e08a3c", "#8c3a04"]
)


@styled
def group_shift_heat_map(
    audit: AuditTables, options: ReportingParameters
) -> tuple[ReportFigure, Mapping[str, Any]]:
    """Draw the mean drop over draws of the average, every class and every segment by shift.

    ``!`` marks values over the limit, hatching groups that are not judged, a dash what was not
    measured; a line parts the levels.
    """
    texts, shifts = figure_texts(options.language), audit.shifts
    kept = set(audit.classes_to_show(options.max_classes))
    groups = [key for key in audit.groups if key[0] != "class" or key[1] in kept]
    cells = {cell.key: cell for cell in audit.cells if cell.key.of in set(groups)}
    rows, columns = max(len(groups), 1), max(len(shifts), 1)
    figure = new_figure(max(4.7, 2.0 + 1.05 * columns), 1.5 + 0.32 * rows)
    axis = figure.subplots()
    shown = [cell.drop_mean for cell in cells.values()]
    top = max([0.01, *shown])
    norm = TwoSlopeNorm(0.0, vmin=min([-top, *shown]), vmax=top)
    for row, group in enumerate(groups):
        for column, shift in enumerate(shifts):
            cell = cells.get(CellKey(*group, shift))
            face = COLOURS(norm(cell.drop_mean)) if cell is not None else "none"
            _paint(axis, column, row, face, hatched=cell is not None and not cell.judged)
            _write_value(axis, column, row, cell, _is_dark(face))
    _label_axes(axis, [_row_label(texts, key, shifts, cells) for key in groups], texts, shifts)
    for row in range(1, len(groups)):
        if groups[row][0] != groups[row - 1][0]:
            axis.axhline(row - 0.5, color=MUTED, linewidth=1.6)
    figure.supxlabel(texts("figure.heat_map.note"), fontsize=9, x=0.02, ha="left")
    return figure, {
        "n": sum(cell.over_limit for cell in cells.values()),
        "cells": len(cells),
        "images": count(audit.averages[0].n if audit.averages else None),
        "shifts": len(shifts),
    }


def _label_axes(axis: Axes, labels: Sequence[str], texts: Texts, shifts: Sequence[str]) -> None:
    wrapped = ["\n".join(texts.shift_name(shift).split(" ", 1)) for shift in shifts]
    axis.set_yticks(range(len(labels)), labels)
    axis.set_xticks(range(len(shifts)), wrapped)
    axis.xaxis.tick_top()
    axis.set_xlim(-0.5, max(len(shifts), 1) - 0.5)
    axis.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _paint(axis: Axes, column: int, row: int, face: object, hatched: bool) -> None:
    corner = (column - 0.5, row - 0.5)
    axis.add_patch(Rectangle(corner, 1, 1, facecolor=face, edgecolor="#ffffff"))
    if hatched:
        axis.add_patch(
            Rectangle(corner, 1, 1, facecolor="none", edgecolor=MUTED, hatch="////", linewidth=0)
        )


def _is_dark(colour: object) -> bool:
    if isinstance(colour, str):
        return False
    red, green, blue = colour[:3]  # type: ignore[index]
    return bool(0.299 * red + 0.587 * green + 0.114 * blue < 0.5)


def _write_value(axis: Axes, column: int, row: int, cell: SpreadCell | None, dark: bool) -> None:
    over = cell is not None and cell.over_limit
    text = points(None if cell is None else cell.drop_mean) + (" !" if over else "")
    colour, box = "#ffffff" if dark else "#000000", None
    if cell is not None and not cell.judged:
        # Hatching behind digits hides them.
        box = {"facecolor": "#f7f7f5", "edgecolor": "none", "pad": 1.2, "alpha": 0.9}
        colour = "#000000"
    axis.text(
        column, row, text, ha="center", va="center", color=MUTED if cell is None else colour,
        fontweight="bold" if over else "normal", bbox=box,
    )  # fmt: skip


def _row_label(
    texts: Texts, group: GroupKey, shifts: Sequence[str], cells: Mapping[CellKey, SpreadCell]
) -> str:
    keys = [CellKey(*group, shift) for shift in shifts]
    images = next((cells[key].n for key in keys if key in cells), 0)
    name = row_name(texts, *group, 24)
    return texts("figure.heat_map.row", group=name, images=count(images))
