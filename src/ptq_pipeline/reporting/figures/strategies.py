"""Strategies for drawing calibration sets, compared on the selection split."""

import numpy as np
import pandas as pd

from ptq_pipeline.reporting.figures.style import (
    HARM,
    MUTED,
    SERIES,
    ReportFigure,
    new_figure,
    styled,
)
from ptq_pipeline.reporting.formatting import count, shorten
from ptq_pipeline.reporting.texts import Texts
from ptq_pipeline.reporting.wording import identifier_name


@styled
def draw_strategy_comparison(table: pd.DataFrame, texts: Texts) -> ReportFigure:
    """Draw for each strategy the average drop and the worst class of every draw.

    Args:
        table: One row per trial: ``strategy``, ``role``, ``draw``, ``average_drop``,
            ``worst_class_drop`` (fractions), ``n``; ordered as the rows shall stand.
        texts: Texts of one language.

    Returns:
        A figure with one axes; per strategy one line of dots for the average and one for the
        worst class, and a bar at each mean.
    """
    strategies = list(dict.fromkeys(table["strategy"]))
    rows = max(len(strategies), 1)
    figure = new_figure(4.7, 1.6 + 0.62 * rows)
    axis = figure.subplots()
    axis.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    series = (("average_drop", SERIES, "o", -0.17), ("worst_class_drop", HARM, "D", 0.17))
    labels = []
    for row, strategy in enumerate(strategies):
        here = table[table["strategy"] == strategy]
        role = "recipe" if (here["role"] == "evidence").any() else "comparison"
        labels.append(
            texts(
                f"figure.strategies.row_{role}",
                strategy=shorten(identifier_name(texts, strategy), 20),
                n=count(here["draw"].nunique()),
            )
        )
        for column, colour, marker, offset in series:
            values = 100 * here[column].to_numpy(dtype=float)
            if not len(values):
                continue
            wave = 0.07 * (np.arange(len(values)) % 3 - 1)
            axis.scatter(
                values, row + offset + wave, s=14, marker=marker, color=colour, alpha=0.5,
                linewidths=0, zorder=3,
            )  # fmt: skip
            mean = float(np.nanmean(values))
            axis.plot([mean] * 2, [row + offset - 0.15, row + offset + 0.15], lw=2.5, color=colour)
    axis.set_yticks(range(rows), labels or [""])
    axis.set_ylim(rows - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=True, axis="x", zorder=0)
    axis.set_xlabel(texts("figure.strategies.axis"))
    _add_legend(figure, texts)
    return figure


def _add_legend(figure: ReportFigure, texts: Texts) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], ls="", marker="o", ms=5, color=SERIES),
        Line2D([], [], ls="", marker="D", ms=5, color=HARM),
        Line2D([], [], ls="", marker="|", ms=11, mew=2.5, color=MUTED),
    ]
    names = [texts(f"figure.strategies.legend_{key}") for key in ("average", "worst", "mean")]
    figure.legend(handles, names, loc="outside lower center", ncols=3, columnspacing=1.0)
