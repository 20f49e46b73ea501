"""The groups that the candidate hurts most, with intervals, beside the average."""

from collections.abc import Sequence

from ptq_pipeline.judgement.summary import SpreadCell
from ptq_pipeline.reporting.figures.style import (
    HARM,
    LIMIT,
    MUTED,
    SERIES,
    ReportFigure,
    new_figure,
    styled,
)
from ptq_pipeline.reporting.formatting import count, shorten
from ptq_pipeline.reporting.texts import Texts
from ptq_pipeline.reporting.wording import shift_name


@styled
def draw_worst_groups(cells: Sequence[SpreadCell], texts: Texts) -> ReportFigure:
    """Draw the candidate's drop and simultaneous interval for each of ``cells``.

    Args:
        cells: From top to bottom.
        texts: Texts of one language.

    Returns:
        A figure with one axes, one row per cell: drop, interval and limit, all in points.
    """
    from matplotlib.lines import Line2D

    rows = max(len(cells), 1)
    figure = new_figure(4.7, 1.35 + 0.42 * rows)
    axis = figure.subplots()
    axis.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    for row, cell in enumerate(cells):
        drop = cell.drop
        over = cell.limit is not None and drop > cell.limit
        colour, marker = (HARM, "D") if over else (SERIES, "o")
        if cell.interval is not None:
            low, high = cell.interval
            axis.plot([100 * low, 100 * high], [row, row], color=colour, lw=2.2, zorder=2)
        axis.plot([100 * drop], [row], marker=marker, ms=7, color=colour, zorder=3)
        if cell.limit is not None:
            axis.plot([100 * cell.limit] * 2, [row - 0.38, row + 0.38], color=LIMIT, lw=2, zorder=2)
    axis.set_yticks(range(rows), [_label(cell, texts) for cell in cells] or [""])
    axis.set_ylim(rows - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=True, axis="x", zorder=0)
    axis.set_xlabel(texts("figure.worst.axis"))
    handles = [
        Line2D([], [], color=SERIES, marker="o", ms=6, lw=2),
        Line2D([], [], color=HARM, marker="D", ms=6, lw=2),
        Line2D([], [], color=LIMIT, marker="|", ms=11, mew=2, ls=""),
    ]
    labels = [texts(f"figure.worst.legend_{key}") for key in ("within", "over", "limit")]
    figure.legend(handles, labels, loc="outside lower center", ncols=3, columnspacing=1.2)
    return figure


def _label(cell: SpreadCell, texts: Texts) -> str:
    name = texts("group.all_images_short") if cell.level == "average" else shorten(cell.group, 26)
    return texts(
        "figure.worst.row", group=name, shift=shift_name(texts, cell.shift), images=count(cell.n)
    )
