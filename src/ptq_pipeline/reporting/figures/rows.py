"""Figures with a row per group, class or strategy, and the points lost from left to right."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ptq_pipeline.core.group_ids import CLASS_LEVEL
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.judgement.summary import SpreadCell
from ptq_pipeline.reporting.figures.style import (
    HARM,
    LIMIT,
    LINE,
    MUTED,
    PAPER,
    SERIES,
    ReportFigure,
    cell_words,
    draws_words,
    figure_texts,
    new_figure,
    row_name,
    styled,
)
from ptq_pipeline.reporting.formats import count, points, shorten, width
from ptq_pipeline.reporting.results import AuditTables, ReportingParameters, worst_first
from ptq_pipeline.reporting.states import STATES
from ptq_pipeline.reporting.texts import Texts

Drawing = tuple[ReportFigure, Mapping[str, Any]]
# Of each level, in the figure of the worst groups.
MOST_GROUPS = 3
MOST_VERSIONS = 24
_ROW_INCHES, _CHARACTER_INCHES = 0.3, 0.095
# Characters: what a name is cut to, and those for which the figure has room as it is.
_NAME, _USUAL_NAME = 22, 12


@styled
def worst_groups(audit: AuditTables, options: ReportingParameters) -> Drawing:
    """Draw what the worst judged groups, and below them the average, use of their limits.

    A row is the candidate's drop over the group's limit with its interval, so that groups with
    other limits can be compared; 100 % is at the limit. Colour and marker say what is shown.
    """
    texts = figure_texts(options.language, audit.of)
    worst = audit.worst_of_each_level(MOST_GROUPS)
    beside = worst[0].shift if worst else CLEAN
    average = [cell for cell in audit.averages if cell.shift in (CLEAN, beside)]
    cells = [cell for cell in (*worst, *average) if cell.limit]
    figure = new_figure(4.7, 1.85 + 0.42 * max(len(cells), 1))
    axis = figure.subplots()
    _mark_no_loss(axis)
    axis.axvline(100, color=LIMIT, linewidth=2, zorder=2)
    for row, cell in enumerate(cells):
        figure.hover(_draw_use(axis, row, cell), cell_words(texts, cell))
    labels = [
        texts(
            "figure.worst.row",
            group=row_name(texts, cell.level, cell.group, 26),
            shift=texts.shift_name(cell.shift),
            images=count(cell.n),
            drop=points(cell.drop),
            limit=points(cell.limit),
        )
        for cell in cells
    ]
    _label_rows(axis, labels)
    axis.set_xlabel(texts("figure.worst.axis"))
    shown = ("shown_bad", "open", "shown_good")
    handles = [
        Line2D(
            [], [], color=STATES[key].colour, marker=STATES[key].marker, ms=7, lw=2,
            markerfacecolor=PAPER if key == "open" else STATES[key].colour,
        )
        for key in shown
    ]  # fmt: skip
    names = [texts(f"status.{key}") for key in shown]
    figure.legend(handles, names, loc="outside lower center", ncols=1)
    return figure, {
        "n": len(worst),
        "group": shorten(worst[0].group, options.name_length) if worst else texts("word.none"),
        "drop": points(worst[0].drop if worst else None),
        "average": points(average[0].drop if average else None),
    }


@styled
def used_over_versions(shares: Sequence[tuple[str, float]], language: str) -> ReportFigure:
    """Draw what the worst group of each version uses of its limit, from the oldest to the newest.

    Args:
        shares: Version and drop over limit, oldest first; only the last 24 are drawn.
        language: Of the words.
    """
    texts = figure_texts(language, "images")
    shown = shares[-MOST_VERSIONS:]
    figure = new_figure(4.7, 1.2 + _ROW_INCHES * len(shown))
    axis = figure.subplots()
    axis.axvline(100, color=LIMIT, linewidth=2, zorder=2)
    for row, (_, share) in enumerate(shown):
        colour, marker = (HARM, "X") if share > 1 else (SERIES, "o")
        axis.plot([0, 100 * share], [row, row], color=colour, lw=2.2, zorder=2)
        axis.plot([100 * share], [row], marker=marker, ms=8, color=colour, zorder=3)
    _label_rows(axis, [shorten(name, _NAME) for name, _ in shown])
    axis.set_xlabel(texts("figure.worst.axis"))
    return figure


@styled
def strategy_comparison(audit: AuditTables, options: ReportingParameters) -> Drawing:
    """Draw average and worst class of every draw by strategy, on the selection split.

    Each strategy has one line of dots for the average and one for the worst class, with a bar at
    each mean.
    """
    texts = figure_texts(options.language, audit.of)
    table = audit.strategy_drops()
    strategies = list(table.groupby("strategy", sort=False))
    figure = new_figure(4.7, 1.6 + 0.62 * max(len(strategies), 1))
    axis = figure.subplots()
    _mark_no_loss(axis)
    series = (("average_drop", SERIES, "o", -0.17), ("worst_class_drop", HARM, "D", 0.17))
    labels = []
    for row, (strategy, here) in enumerate(strategies):
        role = "recipe" if (here["role"] == "evidence").any() else "comparison"
        name = shorten(texts.identifier(strategy), 20)
        draws = count(here["draw"].nunique())
        labels.append(texts(f"figure.strategies.row_{role}", strategy=name, n=draws))
        for column, colour, marker, offset in series:
            values = 100 * here[column].to_numpy(dtype=float)
            wave = 0.07 * (np.arange(len(values)) % 3 - 1)
            dots = axis.scatter(
                values, row + offset + wave, s=14, marker=marker, color=colour, alpha=0.5,
                linewidths=0, zorder=3,
            )  # fmt: skip
            figure.hover(dots, draws_words(texts, name, here[column].to_numpy(dtype=float)))
            mean = float(np.nanmean(values))
            axis.plot([mean] * 2, [row + offset - 0.15, row + offset + 0.15], lw=2.5, color=colour)
    _label_rows(axis, labels)
    axis.set_xlabel(texts("figure.strategies.axis"))
    handles = [
        Line2D([], [], ls="", marker="o", ms=5, color=SERIES),
        Line2D([], [], ls="", marker="D", ms=5, color=HARM),
        Line2D([], [], ls="", marker="|", ms=11, mew=2.5, color=MUTED),
    ]
    names = [texts(f"figure.strategies.legend_{key}") for key in ("average", "worst", "mean")]
    figure.legend(handles, names, loc="outside lower center", ncols=3, columnspacing=1.0)
    means = table.groupby("strategy")["worst_class_drop"].mean()
    return figure, {
        "n": len(means),
        "images": count(table["n"].iloc[0] if len(table) else None),
        "means": "; ".join(
            f"{texts.identifier(name)}: {points(mean)}" for name, mean in means.items()
        ),
    }


@styled
def drop_distribution(audit: AuditTables, options: ReportingParameters) -> Drawing:
    """Draw the drops of every class over the draws, on clean images and under the worst shift.

    Each shift is a panel, with a dot per draw and a box over the dots; hatched rows are classes
    that are not judged.
    """
    texts = figure_texts(options.language, audit.of)
    drops = audit.class_drops()
    judged = set(drops["group"])
    classes = [name for name in audit.classes_to_show(options.max_classes) if name in judged]
    ranked = worst_first(audit.cells, (CLASS_LEVEL,))
    shifts = [CLEAN, *[cell.shift for cell in ranked if cell.shift != CLEAN][:1]]
    shifts = [shift for shift in shifts if shift in set(drops["shift"])]
    cells = {(cell.group, cell.shift): cell for cell in ranked}
    rows, panels = max(len(classes), 1), max(len(shifts), 1)
    # Names take their room from no panel, whose title and axis have words of their own.
    longest = max((width(shorten(name, _NAME)) for name in classes), default=0)
    wide = 4.7 + _CHARACTER_INCHES * max(0, longest - _USUAL_NAME)
    figure = new_figure(wide, panels * (rows * _ROW_INCHES + 0.75) + 0.75)
    axes = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    for axis, shift in zip(axes, shifts, strict=False):
        here = drops[drops["shift"] == shift]
        known = [cells.get((name, shift)) for name in classes]
        for row, (name, cell) in enumerate(zip(classes, known, strict=True)):
            values = here.loc[here["group"] == name].sort_values("draw")["drop"].to_numpy()
            said = draws_words(texts, f"{name}, {texts.shift_name(shift)}", values)
            for dots in _draw_class(axis, row, 100 * values, cell):
                figure.hover(dots, said)
        images = count(sum(cell.n for cell in known if cell is not None))
        axis.set_title(texts("figure.drops.panel", shift=texts.shift_name(shift), images=images))
        _mark_no_loss(axis)
        _label_rows(axis, list(map(partial(_class_label, texts), classes, known)))
    axes[-1].set_xlabel(texts("figure.drops.axis"))
    draws = int(drops["draw"].nunique())
    handles = [
        Line2D([], [], ls="", marker="o", ms=4, color=SERIES),
        Line2D([], [], ls="", marker="D", ms=4, color=HARM),
        Line2D([], [], color=LIMIT, lw=1.6, ls=(0, (3, 1))),
    ]
    names = [texts(f"figure.drops.legend_{key}", n=draws) for key in ("draw", "over", "limit")]
    figure.legend(handles, names, loc="outside lower center", ncols=1)
    return figure, {
        "n": draws,
        "group": shorten(ranked[0].group, options.name_length) if ranked else "",
        "mean": points(ranked[0].drop_mean if ranked else None),
        "most": points(ranked[0].drop_max if ranked else None),
        "shifts": ", ".join(texts.shift_name(shift) for shift in shifts),
        "classes": len(classes),
        "of": len(audit.classes),
    }


def _draw_use(axis: Axes, row: int, cell: SpreadCell) -> Artist:
    look, unit = STATES[cell.status], 100 / (cell.limit or 1.0)
    if cell.interval is not None:
        low, high = cell.interval
        axis.plot([unit * low, unit * high], [row, row], color=look.colour, lw=2.2, zorder=2)
    face = PAPER if cell.status == "open" else look.colour
    (mark,) = axis.plot(
        [unit * cell.drop], [row], marker=look.marker, ms=8, color=look.colour, zorder=3,
        markerfacecolor=face, markeredgewidth=1.8,
    )  # fmt: skip
    return mark


def _class_label(texts: Texts, name: str, cell: SpreadCell | None) -> str:
    short = shorten(name, _NAME)
    if cell is None:
        return short
    key = "figure.drops.row" if cell.judged else "figure.drops.row_not_judged"
    return texts(key, group=short, images=count(cell.n))


def _draw_class(axis: Axes, row: int, values: np.ndarray, cell: SpreadCell | None) -> list[Artist]:
    judged = cell is None or cell.judged
    if not judged:
        axis.axhspan(row - 0.5, row + 0.5, facecolor="none", edgecolor=LINE, hatch="///", zorder=0)
    over = np.zeros(len(values), dtype=bool)
    if cell is not None and cell.limit is not None and judged:
        over = values > 100 * cell.limit
        axis.plot(
            [100 * cell.limit] * 2, [row - 0.5, row + 0.5], color=LIMIT, lw=1.6, ls=(0, (3, 1))
        )
    if not len(values):
        return []
    # A fixed zigzag keeps dots apart as well as random jitter does, and needs no random numbers.
    offsets = 0.26 * (np.arange(len(values)) % 7 - 3) / 3
    dots = [
        axis.scatter(
            values[mask], row + offsets[mask], s=9, marker=marker, color=colour, alpha=0.55,
            linewidths=0, zorder=3,
        )
        for mask, colour, marker in ((~over, SERIES, "o"), (over, HARM, "D"))
    ]  # fmt: skip
    axis.boxplot(
        [values], positions=[row], orientation="horizontal", widths=0.62, manage_ticks=False,
        showfliers=False, showcaps=False, whis=(0, 100), zorder=4,
        boxprops={"linewidth": 1.0}, medianprops={"linewidth": 1.8},
    )  # fmt: skip
    return dots


def _mark_no_loss(axis: Axes) -> None:
    axis.axvline(0, color=MUTED, linewidth=0.8, zorder=1)


def _label_rows(axis: Axes, labels: Sequence[str]) -> None:
    """Name the rows from top to bottom."""
    rows = max(len(labels), 1)
    axis.set_yticks(range(rows), labels or [""])
    axis.set_ylim(rows - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=True, axis="x", zorder=0)
