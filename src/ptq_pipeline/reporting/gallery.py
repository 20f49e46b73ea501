"""The report's figures by name: each taken from the tables, with the words that go with it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.judgement.summary import SpreadCell
from ptq_pipeline.reporting import frames
from ptq_pipeline.reporting.figures.drops import draw_drop_distribution
from ptq_pipeline.reporting.figures.heat_map import draw_heat_map
from ptq_pipeline.reporting.figures.strategies import draw_strategy_comparison
from ptq_pipeline.reporting.figures.style import ReportFigure, warn_without_font
from ptq_pipeline.reporting.figures.worst_groups import draw_worst_groups
from ptq_pipeline.reporting.formatting import count, points, shorten
from ptq_pipeline.reporting.texts import Texts, load_texts
from ptq_pipeline.reporting.wording import identifier_name, shift_name

if TYPE_CHECKING:
    from ptq_pipeline.reporting.inputs import ReportOptions


@dataclass(frozen=True)
class Drawing:
    """A figure and the values that its caption and its alternative text need."""

    figure: ReportFigure
    words: Mapping[str, Any]


def _texts(language: str) -> Texts:
    warn_without_font(language)
    return load_texts(language)


def worst_groups(
    worst_case_table: pd.DataFrame,
    scores: pd.DataFrame,
    group_definitions: Mapping[str, Any],
    options: "ReportOptions",
) -> Drawing:
    """Draw the candidate's worst judged groups of each kind, and below them the average."""
    texts = _texts(options.language)
    cells = SpreadCell.of_table(worst_case_table)
    shown = frames.worst_of_each_level(cells, each=3)
    average = [cell for cell in cells if cell.level == "average" and cell.shift == CLEAN]
    figure = draw_worst_groups([*shown, *average], texts)
    first = shown[0] if shown else None
    return Drawing(
        figure,
        {
            "n": len(shown),
            "group": shorten(first.group, options.name_length) if first else texts("word.none"),
            "drop": points(first.drop) if first else points(None),
            "average": points(average[0].drop) if average else points(None),
        },
    )


def drop_distribution(
    worst_case_table: pd.DataFrame,
    scores: pd.DataFrame,
    group_definitions: Mapping[str, Any],
    options: "ReportOptions",
) -> Drawing:
    """Draw the drops of every class over the draws, on clean images and under the worst shift."""
    texts = _texts(options.language)
    cells = SpreadCell.of_table(worst_case_table)
    of_class = {(cell.group, cell.shift): cell for cell in cells if cell.level == "class"}
    drops = frames.evidence_class_drops(scores)
    classes = frames.classes_to_show(group_definitions, cells, options.max_classes)
    worst = frames.worst_shift(cells)
    present = set(drops["shift"])
    shifts = [name for name in (CLEAN, worst) if name is not None and name in present]
    figure = draw_drop_distribution(drops, of_class, classes, shifts, texts)
    ranked = frames.worst_first(of_class.values())
    return Drawing(
        figure,
        {
            "n": int(drops["draw"].nunique()),
            "group": shorten(ranked[0].group, options.name_length) if ranked else "",
            "mean": points(ranked[0].drop_mean) if ranked else points(None),
            "most": points(ranked[0].drop_max) if ranked else points(None),
            "shifts": ", ".join(shift_name(texts, name) for name in shifts),
            "classes": len(classes),
            "of": len(group_definitions["classes"]),
        },
    )


def group_shift_heat_map(
    worst_case_table: pd.DataFrame,
    scores: pd.DataFrame,
    group_definitions: Mapping[str, Any],
    options: "ReportOptions",
) -> Drawing:
    """Draw the mean drop over draws of the average, every class and every segment by shift."""
    texts = _texts(options.language)
    cells = SpreadCell.of_table(worst_case_table)
    shifts = frames.shift_order(scores["shift"].unique())
    kept = set(frames.classes_to_show(group_definitions, cells, options.max_classes))
    groups = [
        (level, group)
        for level, group in frames.group_order(group_definitions)
        if level != "class" or group in kept
    ]
    shown = {
        (cell.level, cell.group, cell.shift): cell
        for cell in cells
        if (cell.level, cell.group) in set(groups)
    }
    over = [cell for cell in shown.values() if cell.over_limit]
    average = next((cell for cell in cells if cell.level == "average"), None)
    return Drawing(
        draw_heat_map(groups, shifts, shown, texts),
        {
            "n": len(over),
            "cells": len(shown),
            "images": count(average.n if average else None),
            "shifts": len(shifts),
        },
    )


def strategy_comparison(
    worst_case_table: pd.DataFrame,
    scores: pd.DataFrame,
    group_definitions: Mapping[str, Any],
    options: "ReportOptions",
) -> Drawing:
    """Draw average and worst class of every draw by strategy, on the selection split."""
    texts = _texts(options.language)
    table = frames.strategy_drops(scores)
    images = int(table["n"].iloc[0]) if len(table) else None
    means = table.groupby("strategy")["worst_class_drop"].mean()
    words = "; ".join(
        f"{identifier_name(texts, name)}: {points(mean)}" for name, mean in means.items()
    )
    return Drawing(
        draw_strategy_comparison(table, texts),
        {"n": len(means), "images": count(images), "means": words},
    )


Draw = Callable[[pd.DataFrame, pd.DataFrame, Mapping[str, Any], "ReportOptions"], Drawing]

FIGURES: dict[str, Draw] = {
    "worst_groups": worst_groups,
    "drop_distribution": drop_distribution,
    "group_shift_heatmap": group_shift_heat_map,
    "strategy_comparison": strategy_comparison,
}
