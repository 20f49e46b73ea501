"""Groups against shifts: mean drop over draws, printed in every cell."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ptq_pipeline.core.group_ids import CellKey, GroupKey
from ptq_pipeline.judgement.summary import SpreadCell
from ptq_pipeline.reporting.figures.style import (
    MUTED,
    ReportFigure,
    cell_words,
    figure_texts,
    new_figure,
    row_name,
    styled,
)
from ptq_pipeline.reporting.formats import count, points
from ptq_pipeline.reporting.results import AuditTables, ReportingParameters
from ptq_pipeline.reporting.states import STATES
from ptq_pipeline.reporting.texts import Texts


@styled
def group_shift_heat_map(
    audit: AuditTables, options: ReportingParameters
) -> tuple[ReportFigure, Mapping[str, Any]]:
    """Draw the mean drop over draws of the average, every class and every segment by shift.

    Tint and glyph say what is shown of the candidate there; hatching marks groups that are not
    judged, a dash what was not measured; a line parts the levels.
    """
    texts, shifts = figure_texts(options.language, audit.of), audit.shifts
    kept = set(audit.classes_to_show(options.max_classes))
    measured = {cell.key.of for cell in audit.cells}
    groups = [
        key for key in audit.groups if key in measured and (key[0] != "class" or key[1] in kept)
    ]
    cells = {cell.key: cell for cell in audit.cells if cell.key.of in set(groups)}
    rows, columns = max(len(groups), 1), max(len(shifts), 1)
    figure = new_figure(max(4.7, 2.0 + 1.05 * columns), 1.5 + 0.32 * rows)
    axis = figure.subplots()
    for row, group in enumerate(groups):
        for column, shift in enumerate(shifts):
            cell = cells.get(CellKey(*group, shift))
            for mark in (_paint(axis, column, row, cell), _write_value(axis, column, row, cell)):
                if cell is not None:
                    figure.hover(mark, cell_words(texts, cell))
    _label_axes(axis, [_row_label(texts, key, shifts, cells) for key in groups], texts, shifts)
    for row in range(1, len(groups)):
        if groups[row][0] != groups[row - 1][0]:
            axis.axhline(row - 0.5, color=MUTED, linewidth=1.6)
    figure.supxlabel(texts("figure.heat_map.note"), fontsize=9, x=0.02, ha="left")
    return figure, {
        "n": sum(cell.status == "shown_bad" for cell in cells.values()),
        "open": sum(cell.status == "open" for cell in cells.values()),
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


def _paint(axis: Axes, column: int, row: int, cell: SpreadCell | None) -> Artist:
    corner = (column - 0.5, row - 0.5)
    face = STATES[cell.status].tint if cell else "none"
    painted = axis.add_patch(Rectangle(corner, 1, 1, facecolor=face, edgecolor="#ffffff"))
    if cell is not None and cell.status == "not_judged":
        axis.add_patch(
            Rectangle(corner, 1, 1, facecolor="none", edgecolor=MUTED, hatch="////", linewidth=0)
        )
    return painted


def _write_value(axis: Axes, column: int, row: int, cell: SpreadCell | None) -> Artist:
    text, box, bold = points(None if cell is None else cell.drop_mean), None, False
    if cell is not None and cell.status in ("shown_bad", "open"):
        text, bold = f"{STATES[cell.status].glyph} {text}", cell.status == "shown_bad"
    if cell is not None and cell.status == "not_judged":
        # Hatching behind digits hides them.
        box = {"facecolor": "#f7f7f5", "edgecolor": "none", "pad": 1.2, "alpha": 0.9}
    return axis.text(
        column, row, text, ha="center", va="center", color=MUTED if cell is None else "#000000",
        fontweight="bold" if bold else "normal", bbox=box,
    )  # fmt: skip


def _row_label(
    texts: Texts, group: GroupKey, shifts: Sequence[str], cells: Mapping[CellKey, SpreadCell]
) -> str:
    keys = [CellKey(*group, shift) for shift in shifts]
    images = next((cells[key].n for key in keys if key in cells), 0)
    name = row_name(texts, *group, 24)
    return texts("figure.heat_map.row", group=name, images=count(images))
