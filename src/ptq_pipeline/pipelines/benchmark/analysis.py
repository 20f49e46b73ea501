"""What the trials of the benchmark say: drops per cell, effects against a reference, components."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.pipelines.benchmark.parameters import BenchmarkParameters
from ptq_pipeline.statistics.crossed import (
    components,
    group_drops,
    mean_over_draws,
    seeded_components,
)

KEYS = ["model", "study", "bits", "method", "calibration"]
WORST, AVERAGE = "worst_class", "average"


@dataclass(frozen=True, eq=False)
class ModelLosses:
    """All trials of one model under one shift, as losses.

    Attributes:
        losses: ``(T, N)`` int8: float right minus quantized right; row 0 is the float model.
        labels: ``(N,)``.
        classes: names.
        parameters: of the benchmark.
    """

    losses: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    parameters: BenchmarkParameters

    @cached_property
    def drops(self) -> np.ndarray:
        """``(1 + B, classes, T)``: drops in points, the first observed, then resampled images."""
        settings, groups = self.parameters, len(self.classes)
        return 100 * group_drops(
            self.losses, self.labels, groups, settings.replicates, settings.seed
        )

    @cached_property
    def statistics(self) -> dict[str, np.ndarray]:
        """Worst class and average, ``(1 + B, T)`` each, in points."""
        shares = np.bincount(self.labels, minlength=len(self.classes)) / len(self.labels)
        average = np.einsum("bct,c->bt", np.nan_to_num(self.drops), shares.astype(np.float32))
        return {WORST: np.nanmax(self.drops, 1), AVERAGE: average}

    def worst_class(self, places: np.ndarray) -> int:
        """Return the class that loses most, on average over trials."""
        return int(np.nanargmax(self.drops[0][:, places].mean(1)))


# By model and shift.
Views = Mapping[str, Mapping[str, ModelLosses]]


def losses_of(answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return ``(T, N)`` int8 from answers ``(T, N)``; row 0 is the float model."""
    right = answers == labels
    return right[0].astype(np.int8) - right.astype(np.int8)


def cell_table(trials: pd.DataFrame, views: Views) -> pd.DataFrame:
    """Return one row per cell and shift: mean worst-class and average drop with intervals.

    Of several seeds of a method the first one counts, as there would be one in use.
    """
    rows = []
    for key, part, places in _cells(trials):
        for shift, view in views[key["model"]].items() if len(places) else ():
            row = key | {"shift": shift, "size": int(part["size"].iloc[0]), "draws": len(places)}
            row["failed"] = int((part.loc[part["seed"] == 0, "row"] < 0).sum())
            for name, values in view.statistics.items():
                found = mean_over_draws(values[:, places], view.parameters.level)
                row |= {f"{name}_drop": found.value, f"{name}_low": found.low}
                row |= {f"{name}_high": found.high}
            row["worst_draw"] = float(view.statistics[WORST][0, places].max())
            rows.append(row | {"class": view.classes[view.worst_class(places)]})
    return pd.DataFrame(rows)


def variance_table(trials: pd.DataFrame, views: Views) -> pd.DataFrame:
    """Return the crossed components of the worst class's drop for every cell and shift.

    Spreads are in points; between seeds too where every set was quantized with several.
    """
    rows = []
    for key, part, places in _cells(trials):
        for shift, view in views[key["model"]].items() if len(places) > 1 else ():
            worst = view.worst_class(places)
            losses = view.losses[:, view.labels == worst]
            table = part.pivot(index="draw", columns="seed", values="row").to_numpy()
            found: Any
            if table.shape[1] > 1 and (table >= 0).all():
                found = seeded_components(losses[table])
                seeds, between_seeds = found.seeds, 100 * found.drop_sd_between_seeds
            else:
                found = components(losses[places])
                seeds, between_seeds = 1, float("nan")
            row = {
                "shift": shift,
                "class": view.classes[worst],
                "draws": found.draws,
                "seeds": seeds,
                "images": found.images,
                "sd_between_draws": 100 * found.drop_sd_between_draws,
                "sd_between_seeds": between_seeds,
                "sd_between_image_sets": 100 * found.drop_sd_between_image_sets,
                "draw_share": found.draw_share,
            }
            rows.append(key | row)
    return pd.DataFrame(rows)


def _cells(trials: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame, np.ndarray]]:
    """Yield each cell's key, its trials, and the rows of those with the first seed that ended."""
    for key, part in trials.groupby(KEYS, sort=False):
        places = part.loc[(part["seed"] == 0) & (part["row"] >= 0), "row"].to_numpy()
        yield dict(zip(KEYS, key, strict=True)), part, places


@dataclass(frozen=True)
class LevelComparison:
    """One level of a factor against another: rows ``(K,)`` of each side, once a pair of cells."""

    factor: str
    level: str
    against: str
    method: str
    ours: list[np.ndarray]
    theirs: list[np.ndarray]


def effect_table(trials: pd.DataFrame, views: Views) -> pd.DataFrame:
    """Return effects on the worst class's drop against each study's reference, with intervals.

    Positive is harm. ``calibration``: against the study's reference, within every model, bits and
    shift, and over all methods. ``method``: against the first method, with the reference
    calibration of each study that crosses all methods. Differences are taken draw by draw.
    """
    rows = []
    first_seed = trials[trials["seed"] == 0]
    for (model, study, bits), part in first_seed.groupby(["model", "study", "bits"], sort=False):
        for shift, view in views[model].items():
            values = view.statistics[WORST]
            for each in _comparisons(part, view.parameters, study):
                pairs = zip(each.ours, each.theirs, strict=True)
                difference = np.mean([values[:, a] - values[:, b] for a, b in pairs], axis=0)
                found = mean_over_draws(difference, view.parameters.level)
                shown = "worse" if found.low > 0 else "better" if found.high < 0 else "not shown"
                row = {"model": model, "study": study, "bits": bits, "method": each.method}
                row |= {"shift": shift, "factor": each.factor, "level": each.level}
                row |= {"against": each.against, "effect": found.value, "low": found.low}
                rows.append(row | {"high": found.high, "draws": found.draws, "result": shown})
    return pd.DataFrame(rows)


def _comparisons(
    part: pd.DataFrame, parameters: BenchmarkParameters, study: str
) -> Iterator[LevelComparison]:
    settings = parameters.studies[study]
    reference, methods = settings.reference, list(dict.fromkeys(part["method"]))
    places = {
        key: rows["row"].to_numpy()
        for key, rows in part.groupby(["method", "calibration"], sort=False)
        if (rows["row"] >= 0).all()
    }
    for level in [name for name in settings.calibrations if name != reference]:
        both = [each for each in methods if {(each, level), (each, reference)} <= places.keys()]
        ours = [places[each, level] for each in both]
        theirs = [places[each, reference] for each in both]
        what = ("calibration", level, reference)
        for method, our, their in zip(both, ours, theirs, strict=True):
            yield LevelComparison(*what, method, [our], [their])
        if both:
            yield LevelComparison(*what, "all", ours, theirs)
    first = next(iter(parameters.methods))
    if settings.methods is None and (first, reference) in places:
        for method in [name for name in methods if name != first and (name, reference) in places]:
            sides = [places[method, reference]], [places[first, reference]]
            yield LevelComparison("method", method, first, method, *sides)
