"""Groups against shifts: mean drop over draws, printed in every cell."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ptq_pipeline.judgement.summary import SpreadCell
from ptq_pipeline.reporting.figures.style import MUTED, ReportFigure, new_figure, styled
from ptq_pipeline.reporting.formatting import count, points, shorten
from ptq_pipeline.reporting.texts import Texts
from ptq_pipeline.reporting.wording import shift_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap


@styled
def draw_heat_map(
    groups: Sequence[tuple[str, str]],
    shifts: Sequence[str],
    cells: dict[tuple[str, str, str], SpreadCell],
    texts: Texts,
) -> ReportFigure:
    """Draw the mean drop over draws of each group under each shift.

    Args:
        groups: ``(level, group)`` from top to bottom; a line parts the levels.
        shifts: Columns from left to right.
        cells: By ``(level, group, shift)``; the drop shown is ``drop_mean``, a fraction.
        texts: Texts of one language.

    Returns:
        A figure with one axes. ``!`` marks values over the limit, hatching groups that are not
        judged, a dash what was not measured.
    """
    from matplotlib.colors import TwoSlopeNorm

    rows, columns = max(len(groups), 1), max(len(shifts), 1)
    figure = new_figure(max(4.7, 2.0 + 1.05 * columns), 1.5 + 0.32 * rows)
    axis = figure.subplots()
    shown = [cell.drop_mean for cell in cells.values()]
    top = max([0.01, *shown])
    norm = TwoSlopeNorm(0.0, vmin=min([-top, *shown]), vmax=top)
    colours = _colours()
    for row, (level, group) in enumerate(groups):
        for column, shift in enumerate(shifts):
            cell = cells.get((level, group, shift))
            face = colours(norm(cell.drop_mean)) if cell is not None else "none"
            _paint(axis, column, row, face, hatched=cell is not None and not cell.judged)
            _write_value(axis, column, row, cell, _is_dark(face))
    _label_axes(axis, groups, shifts, cells, texts)
    for row in range(1, len(groups)):
        if groups[row][0] != groups[row - 1][0]:
            axis.axhline(row - 0.5, color=MUTED, linewidth=1.6)
    figure.supxlabel(texts("figure.heat_map.note"), fontsize=9, x=0.02, ha="left")
    return figure


def _colours() -> "Colormap":
    from matplotlib.colors import LinearSegmentedColormap

    # Blue for gains, white for no change, brown-orange for losses: apart for all kinds of
    # colour blindness, and dark enough at the end only, so that most values stand on a light cell.
    return LinearSegmentedColormap.from_list(
        "drops", ["#2b6ca3", "#7fb2d6", "#cfe1ee", "#f7f7f5", "#f8d3ab", "#e08a3c", "#8c3a04"]
    )


def _label_axes(
    axis: "Axes",
    groups: Sequence[tuple[str, str]],
    shifts: Sequence[str],
    cells: dict[tuple[str, str, str], SpreadCell],
    texts: Texts,
) -> None:
    labels = [_row_label(level, group, shifts, cells, texts) for level, group in groups]
    axis.set_yticks(range(len(groups)), labels)
    axis.set_xticks(range(len(shifts)), [_wrap(shift_name(texts, shift)) for shift in shifts])
    axis.xaxis.tick_top()
    axis.set_xlim(-0.5, max(len(shifts), 1) - 0.5)
    axis.set_ylim(max(len(groups), 1) - 0.5, -0.5)
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _paint(axis: "Axes", column: int, row: int, face: object, hatched: bool) -> None:
    from matplotlib.patches import Rectangle

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


def _write_value(axis: "Axes", column: int, row: int, cell: SpreadCell | None, dark: bool) -> None:
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
    level: str,
    group: str,
    shifts: Sequence[str],
    cells: dict[tuple[str, str, str], SpreadCell],
    texts: Texts,
) -> str:
    known = [cells[level, group, shift] for shift in shifts if (level, group, shift) in cells]
    name = texts("group.all_images_short") if level == "average" else shorten(group, 24)
    images = count(known[0].n) if known else "0"
    return texts("figure.heat_map.row", group=name, images=images)


def _wrap(name: str) -> str:
    return "\n".join(name.split(" ", 1))
