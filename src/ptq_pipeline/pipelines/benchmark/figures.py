"""Figures of the benchmark: worst class against strength, size, method and augmentation."""

from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.pipelines.benchmark.parameters import BenchmarkParameters
from ptq_pipeline.reporting.figures.style import HARM, LIMIT, MUTED, SERIES, styled

LOOKS = [(SERIES, "o"), (HARM, "D"), (LIMIT, "s"), (MUTED, "^")]


def _symlog(plot: Any) -> None:
    """Linear near zero, logarithmic beyond, with plain numbers."""
    plot.set_xscale("symlog", linthresh=2)
    plot.set_xticks([-50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50])
    plot.xaxis.set_major_formatter("{x:g}")
    plot.tick_params(axis="x", labelsize=7)
    plot.margins(x=0.02)


@styled
def draw_curves(cells: pd.DataFrame, axes: dict[str, str]) -> Any:
    """Draw the worst class's drop on clean images against what each study varies."""
    from matplotlib.figure import Figure

    shown = {name: axis for name, axis in axes.items() if (cells["study"] == name).any()}
    models = list(dict.fromkeys(cells["model"]))
    figure = Figure((4.2 * max(len(shown), 1), 3.2 * len(models)), layout="constrained")
    grid = figure.subplots(len(models), max(len(shown), 1), squeeze=False)
    for row, model in zip(grid, models, strict=True):
        for plot, (study, axis) in zip(row, shown.items(), strict=False):
            here = cells[
                (cells["study"] == study) & (cells["model"] == model) & (cells["shift"] == CLEAN)
            ]
            lines = here.groupby(["bits", "method"], sort=False)
            for (colour, marker), ((bits, method), rows) in zip(LOOKS, lines, strict=False):
                part = rows.assign(at=rows["calibration"].astype(float)).sort_values("at")
                plot.fill_between(
                    *(part["at"], part["worst_class_low"], part["worst_class_high"]),
                    *(None, 0, None),
                    color=colour,
                    alpha=0.15,
                    linewidth=0,
                )
                label = f"{bits} {method}"
                plot.plot(
                    part["at"], part["worst_class_drop"], marker=marker, color=colour, label=label
                )
            if axis == "images":
                plot.set_xscale("log", base=2)
                plot.xaxis.set_major_formatter("{x:.0f}")
            plot.set_title(f"{model}: {study.replace('_', ' ')}")
            plot.set_xlabel(axis)
            plot.set_ylabel("worst class, points lost")
            plot.axhline(0, color=MUTED, linewidth=0.8)
            plot.legend()
    return figure


@styled
def draw_methods(cells: pd.DataFrame, parameters: BenchmarkParameters) -> Any:
    """Draw per method the worst class's drop of every bit setting, with random sets."""
    from matplotlib.figure import Figure

    crossed = [name for name, study in parameters.studies.items() if study.methods is None]
    reference = parameters.studies[crossed[0]].reference if crossed else ""
    here = cells[
        (cells["study"].isin(crossed[:1]))
        & (cells["calibration"] == reference)
        & (cells["shift"] == CLEAN)
    ]
    models = list(dict.fromkeys(here["model"])) or [""]
    figure = Figure((4.4 * len(models), 3.6), layout="constrained")
    for plot, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        methods = list(dict.fromkeys(here["method"]))
        of_bits = here[here["model"] == model].groupby("bits", sort=False)
        for number, ((colour, marker), (bits, part)) in enumerate(
            zip(LOOKS, of_bits, strict=False)
        ):
            at = np.array([methods.index(name) for name in part["method"]]) + 0.17 * (number - 1.5)
            middle = part["worst_class_drop"].to_numpy()
            reach = [middle - part["worst_class_low"], part["worst_class_high"] - middle]
            plot.errorbar(middle, at, xerr=reach, fmt=marker, color=colour, label=bits, capsize=2)
        _symlog(plot)
        plot.set_yticks(range(len(methods)), methods)
        plot.invert_yaxis()
        plot.axvline(0, color=MUTED, linewidth=0.8)
        plot.set_title(model)
        plot.set_xlabel("worst class, points lost")
        plot.legend()
    return figure


@styled
def draw_effects(effects: pd.DataFrame) -> Any:
    """Draw what each calibration does to the worst class on clean images, against its reference."""
    from matplotlib.figure import Figure

    here = effects[
        (effects["factor"] == "calibration")
        & (effects["shift"] == CLEAN)
        & (effects["method"] == "all")
    ]
    studies = list(dict.fromkeys(here["study"])) or [""]
    heights = [max(2, here.loc[here["study"] == name, "level"].nunique()) for name in studies]
    figure = Figure((7, 0.4 * sum(heights) + 0.9 * len(studies)), layout="constrained")
    plots = figure.subplots(len(studies), 1, squeeze=False, height_ratios=heights)[:, 0]
    for plot, study in zip(plots, studies, strict=True):
        part = here[here["study"] == study]
        levels = list(dict.fromkeys(part["level"]))
        lines = part.groupby(["model", "bits"], sort=False)
        shades = [(*LOOKS[n % len(LOOKS)], 1.0 if n < len(LOOKS) else 0.45) for n in range(8)]
        for number, ((colour, marker, alpha), (key, rows)) in enumerate(
            zip(shades, lines, strict=False)
        ):
            offset = 0.6 * ((number + 0.5) / len(lines) - 0.5)
            at = np.array([levels.index(name) for name in rows["level"]]) + offset
            middle = rows["effect"].to_numpy()
            plot.errorbar(
                *(middle, at),
                xerr=[middle - rows["low"], rows["high"] - middle],
                fmt=marker,
                color=colour,
                alpha=alpha,
                label=" ".join(key),
                markersize=4,
                capsize=2,
            )
        plot.set_yticks(range(len(levels)), levels)
        plot.invert_yaxis()
        plot.axvline(0, color=MUTED, linewidth=0.8)
        _symlog(plot)
        against = part["against"].iloc[0] if len(part) else ""
        plot.set_title(f"{study.replace('_', ' ')}, against {against}: points of the worst class")
        plot.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
