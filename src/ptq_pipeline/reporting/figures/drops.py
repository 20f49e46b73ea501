"""Distribution of per-class drops over draws, with each class's limit."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ptq_pipeline.judgement.summary import SpreadCell
from ptq_pipeline.reporting.figures.style import (
    HARM,
    LIMIT,
    LINE,
    MUTED,
    SERIES,
    ReportFigure,
    new_figure,
    styled,
)
from ptq_pipeline.reporting.formatting import count, shorten, width
from ptq_pipeline.reporting.texts import Texts
from ptq_pipeline.reporting.wording import shift_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW_INCHES, _CHARACTER_INCHES = 0.3, 0.095
# Characters: what a name is cut to, and those for which the figure has room as it is.
_NAME, _USUAL_NAME = 22, 12


@styled
def draw_drop_distribution(
    drops: pd.DataFrame,
    cells: dict[tuple[str, str], SpreadCell],
    classes: Sequence[str],
    shifts: Sequence[str],
    texts: Texts,
) -> ReportFigure:
    """Draw one panel per shift with one row per class: a dot per draw and a box over the dots.

    Args:
        drops: Class rows of the evidence on the audit split: ``shift``, ``group``, ``draw``,
            ``drop`` (fraction).
        cells: Limit, count and judgement by ``(group, shift)``.
        classes: Classes from top to bottom, in label order.
        shifts: One panel each, from top to bottom.
        texts: Texts of one language.

    Returns:
        A figure with ``len(shifts)`` axes; hatched rows are classes that are not judged.
    """
    rows = max(len(classes), 1)
    # Names take their room from no panel, whose title and axis have words of their own.
    longest = max((width(shorten(name, _NAME)) for name in classes), default=0)
    wide = 4.7 + _CHARACTER_INCHES * max(0, longest - _USUAL_NAME)
    figure = new_figure(wide, max(len(shifts), 1) * (rows * _ROW_INCHES + 0.75) + 0.75)
    axes = figure.subplots(max(len(shifts), 1), 1, sharex=True, squeeze=False)[:, 0]
    draws = int(drops["draw"].nunique())
    for axis, shift in zip(axes, shifts, strict=False):
        here = drops[drops["shift"] == shift]
        for row, name in enumerate(classes):
            values = 100 * here.loc[here["group"] == name].sort_values("draw")["drop"].to_numpy()
            _draw_class(axis, row, values, cells.get((name, shift)))
        known = (cells.get((name, shift)) for name in classes)
        images = sum(cell.n for cell in known if cell is not None)
        axis.set_title(
            texts(
                "figure.drops.panel",
                shift=shift_name(texts, shift),
                images=count(images),
            )
        )
        axis.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
        axis.set_yticks(range(rows), [_label(name, cells, shift, texts) for name in classes])
        axis.set_ylim(rows - 0.5, -0.5)
        axis.tick_params(axis="y", length=0)
        axis.grid(visible=True, axis="x", zorder=0)
    axes[-1].set_xlabel(texts("figure.drops.axis"))
    _add_legend(figure, texts, draws)
    return figure


def _label(name: str, cells: dict[tuple[str, str], SpreadCell], shift: str, texts: Texts) -> str:
    short = shorten(name, _NAME)
    cell = cells.get((name, shift))
    if cell is None:
        return short
    key = "figure.drops.row" if cell.judged else "figure.drops.row_not_judged"
    return texts(key, group=short, images=count(cell.n))


def _draw_class(axis: "Axes", row: int, values: np.ndarray, cell: SpreadCell | None) -> None:
    judged = cell is None or cell.judged
    if not judged:
        axis.axhspan(row - 0.5, row + 0.5, facecolor="none", edgecolor=LINE, hatch="///", zorder=0)
    if cell is not None and cell.limit is not None and judged:
        axis.plot(
            [100 * cell.limit] * 2, [row - 0.5, row + 0.5], color=LIMIT, lw=1.6, ls=(0, (3, 1))
        )
    if not len(values):
        return
    # A fixed zigzag keeps dots apart as well as random jitter does, and needs no random numbers.
    offsets = 0.26 * (np.arange(len(values)) % 7 - 3) / 3
    over = np.zeros(len(values), dtype=bool)
    if cell is not None and cell.limit is not None and judged:
        over = values > 100 * cell.limit
    for mask, colour, marker in ((~over, SERIES, "o"), (over, HARM, "D")):
        axis.scatter(
            values[mask], row + offsets[mask], s=9, marker=marker, color=colour, alpha=0.55,
            linewidths=0, zorder=3,
        )  # fmt: skip
    axis.boxplot(
        [values], positions=[row], orientation="horizontal", widths=0.62, manage_ticks=False,
        showfliers=False, showcaps=False, whis=(0, 100), zorder=4,
        boxprops={"linewidth": 1.0}, medianprops={"linewidth": 1.8},
    )  # fmt: skip


def _add_legend(figure: ReportFigure, texts: Texts, draws: int) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], ls="", marker="o", ms=4, color=SERIES),
        Line2D([], [], ls="", marker="D", ms=4, color=HARM),
        Line2D([], [], color=LIMIT, lw=1.6, ls=(0, (3, 1))),
    ]
    labels = [
        texts("figure.drops.legend_draw", n=draws),
        texts("figure.drops.legend_over"),
        texts("figure.drops.legend_limit"),
    ]
    figure.legend(handles, labels, loc="outside lower center", ncols=1)
