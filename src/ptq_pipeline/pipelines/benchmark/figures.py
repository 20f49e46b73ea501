"""Figures of the benchmark: worst class against strength, size, method and augmentation."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.pipelines.benchmark.parameters import BenchmarkParameters
from ptq_pipeline.reporting.figures.style import HARM, LIMIT, MUTED, SERIES, styled

LOOKS = [(SERIES, "o"), (HARM, "D"), (LIMIT, "s"), (MUTED, "^")]
LOST = "worst class, points lost"


def _different(values: pd.Series) -> list[str]:
    """The different values in their order, or one without a name."""
    return list(dict.fromkeys(values)) or [""]


@styled
def draw_curves(cells: pd.DataFrame, parameters: BenchmarkParameters) -> Any:
    """Draw the worst class's drop on clean images against what each study varies."""
    axes = {name: study.axis for name, study in parameters.studies.items() if study.axis}
    shown = {name: axis for name, axis in axes.items() if (cells["study"] == name).any()}
    models = list(dict.fromkeys(cells["model"]))
    clean = cells[cells["shift"] == CLEAN]
    figure = Figure((4.2 * max(len(shown), 1), 3.2 * len(models)), layout="constrained")
    grid = figure.subplots(len(models), max(len(shown), 1), squeeze=False)
    for row, model in zip(grid, models, strict=True):
        for plot, (study, axis) in zip(row, shown.items(), strict=False):
            here = clean[(clean["study"] == study) & (clean["model"] == model)]
            lines = here.groupby(["bits", "method"], sort=False)
            for (colour, marker), (key, rows) in zip(LOOKS, lines, strict=False):
                part = rows.assign(at=rows["calibration"].astype(float)).sort_values("at")
                low, high = part["worst_class_low"], part["worst_class_high"]
                plot.fill_between(part["at"], low, high, color=colour, alpha=0.15, linewidth=0)
                look = {"marker": marker, "color": colour, "label": " ".join(key)}
                plot.plot(part["at"], part["worst_class_drop"], **look)
            if axis == "images":
                plot.set_xscale("log", base=2)
                plot.xaxis.set_major_formatter("{x:.0f}")
            plot.set_title(f"{model}: {study.replace('_', ' ')}")
            plot.set_xlabel(axis)
            plot.set_ylabel(LOST)
            plot.axhline(0, color=MUTED, linewidth=0.8)
            plot.legend()
    return figure


@styled
def draw_methods(cells: pd.DataFrame, parameters: BenchmarkParameters) -> Any:
    """Draw per method the worst class's drop of every bit setting, with random sets."""
    crossed = [name for name, study in parameters.studies.items() if study.methods is None]
    reference = parameters.studies[crossed[0]].reference if crossed else ""
    here = cells[
        (cells["study"].isin(crossed[:1]))
        & (cells["calibration"] == reference)
        & (cells["shift"] == CLEAN)
    ]
    models, methods = _different(here["model"]), list(dict.fromkeys(here["method"]))
    columns = ["worst_class_drop", "worst_class_low", "worst_class_high"]
    figure = Figure((4.4 * len(models), 3.6), layout="constrained")
    for plot, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        lines = [
            (bits, 0.17 * (number - 1.5), part.set_index("method")[columns])
            for number, (bits, part) in enumerate(
                here[here["model"] == model].groupby("bits", sort=False)
            )
        ]
        _draw_intervals(plot, methods, lines)
        plot.set_title(model)
        plot.set_xlabel(LOST)
        plot.legend()
    return figure


@styled
def draw_effects(effects: pd.DataFrame) -> Any:
    """Draw what each calibration does to the worst class on clean images, against its reference."""
    here = effects[
        (effects["factor"] == "calibration")
        & (effects["shift"] == CLEAN)
        & (effects["method"] == "all")
    ]
    studies = _different(here["study"])
    heights = [max(2, here.loc[here["study"] == name, "level"].nunique()) for name in studies]
    figure = Figure((7, 0.4 * sum(heights) + 0.9 * len(studies)), layout="constrained")
    plots = figure.subplots(len(studies), 1, squeeze=False, height_ratios=heights)[:, 0]
    for plot, study in zip(plots, studies, strict=True):
        part = here[here["study"] == study]
        groups = part.groupby(["model", "bits"], sort=False)
        lines = [
            (
                " ".join(key),
                0.6 * ((number + 0.5) / len(groups) - 0.5),
                rows.set_index("level")[["effect", "low", "high"]],
            )
            for number, (key, rows) in enumerate(groups)
        ]
        _draw_intervals(plot, list(dict.fromkeys(part["level"])), lines)
        against = part["against"].iloc[0] if len(part) else ""
        plot.set_title(f"{study.replace('_', ' ')}, against {against}: points of the worst class")
        plot.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _draw_intervals(
    plot: Any, names: list[str], lines: Iterable[tuple[str, float, pd.DataFrame]]
) -> None:
    """Draw intervals beside names, from top to bottom.

    Args:
        plot: where.
        names: along the vertical axis.
        lines: label, distance from the names' places, and value, low and high by name. The colours
            of the first four come again, paler.
    """
    looks = [(*look, alpha) for alpha in (1.0, 0.45) for look in LOOKS]
    for (colour, marker, alpha), (label, offset, rows) in zip(looks, lines, strict=False):
        at = np.array([names.index(name) for name in rows.index]) + offset
        middle, low, high = rows.to_numpy(float).T
        look = {"fmt": marker, "color": colour, "alpha": alpha, "label": label}
        plot.errorbar(middle, at, xerr=[middle - low, high - middle], capsize=2, **look)
    plot.set_yticks(range(len(names)), names)
    plot.invert_yaxis()
    plot.axvline(0, color=MUTED, linewidth=0.8)
    # Linear near zero, logarithmic beyond, with plain numbers.
    plot.set_xscale("symlog", linthresh=2)
    plot.set_xticks([-50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50])
    plot.xaxis.set_major_formatter("{x:g}")
    plot.tick_params(axis="x", labelsize=7)
    plot.margins(x=0.02)
