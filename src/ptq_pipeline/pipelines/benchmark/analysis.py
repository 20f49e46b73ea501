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
class Answers:
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
        settings = self.parameters
        found = group_drops(
            *(self.losses, self.labels, len(self.classes), settings.replicates, settings.seed)
        )
        return 100 * found

    @cached_property
    def statistics(self) -> dict[str, np.ndarray]:
        """Worst class and average, ``(1 + B, T)`` each, in points."""
        shares = np.bincount(self.labels, minlength=len(self.classes)) / len(self.labels)
        average = np.einsum("bct,c->bt", np.nan_to_num(self.drops), shares.astype(np.float32))
        return {WORST: np.nanmax(self.drops, 1), AVERAGE: average}


def losses_of(answers: np.ndarray, shift: int, labels: np.ndarray) -> np.ndarray:
    """Return ``(T, N)`` int8 from answers ``(T, shifts, N)``; row 0 is the float model."""
    right = answers[:, shift] == labels
    return right[0].astype(np.int8) - right.astype(np.int8)


def cell_table(trials: pd.DataFrame, views: Mapping[tuple[str, str], Answers]) -> pd.DataFrame:
    """Return one row per cell and shift: mean worst-class and average drop with intervals.

    Of several seeds of a method the first one counts, as there would be one in use.
    """
    rows = []
    for key, part in trials[trials["seed"] == 0].groupby(KEYS, sort=False):
        places = _places(part)
        for (model, shift), view in views.items():
            if model != key[0] or not len(places):
                continue
            row: dict[str, Any] = dict(zip(KEYS, key, strict=True))
            row |= {"shift": shift, "size": int(part["size"].iloc[0]), "draws": len(places)}
            row["failed"] = int((part["row"] < 0).sum())
            for name, values in view.statistics.items():
                found = mean_over_draws(values[:, places], view.parameters.level)
                row |= {f"{name}_drop": found.value, f"{name}_low": found.low}
                row |= {f"{name}_high": found.high}
            row["worst_draw"] = float(view.statistics[WORST][0, places].max())
            worst = view.drops[0][:, places].mean(1)
            row["class"] = view.classes[int(np.nanargmax(worst))]
            rows.append(row)
    return pd.DataFrame(rows)


def effect_table(trials: pd.DataFrame, views: Mapping[tuple[str, str], Answers]) -> pd.DataFrame:
    """Return effects on the worst class's drop against each study's reference, with intervals.

    Positive is harm. ``calibration``: against the study's reference, within every model, bits and
    shift, and over all methods. ``method``: against the first method, with the reference
    calibration of each study that crosses all methods. Differences are taken draw by draw.
    """
    rows = []
    for comparison in _comparisons(trials, views):
        model, study, bits, method, shift, factor, level, against = comparison[:8]
        view, ours, theirs = comparison[8:]
        values = view.statistics[WORST]
        pairs = zip(ours, theirs, strict=True)
        difference = np.mean([values[:, a] - values[:, b] for a, b in pairs], axis=0)
        found = mean_over_draws(difference, view.parameters.level)
        shown = "worse" if found.low > 0 else "better" if found.high < 0 else "not shown"
        rows.append(
            {
                "model": model,
                "study": study,
                "bits": bits,
                "method": method,
                "shift": shift,
                "factor": factor,
                "level": level,
                "against": against,
                "effect": found.value,
                "low": found.low,
                "high": found.high,
                "draws": found.draws,
                "result": shown,
            }
        )
    return pd.DataFrame(rows)


def _comparisons(
    trials: pd.DataFrame, views: Mapping[tuple[str, str], Answers]
) -> Iterator[tuple[Any, ...]]:
    """Yield what is compared with what: lists of ``(K,)`` places, one per method or calibration."""
    first_seed = trials[trials["seed"] == 0]
    for (model, study, bits), part in first_seed.groupby(["model", "study", "bits"], sort=False):
        places = {
            (method, calibration): rows["row"].to_numpy()
            for (method, calibration), rows in part.groupby(["method", "calibration"], sort=False)
            if (rows["row"] >= 0).all()
        }
        for (here, shift), view in views.items():
            if here != model:
                continue
            settings = view.parameters.studies[study]
            methods = list(dict.fromkeys(part["method"]))
            for level in [name for name in settings.calibrations if name != settings.reference]:
                pairs = {
                    method: (places[method, level], places[method, settings.reference])
                    for method in methods
                    if (method, level) in places and (method, settings.reference) in places
                }
                what = (shift, "calibration", level, settings.reference, view)
                for method, (ours, theirs) in pairs.items():
                    yield (model, study, bits, method, *what, [ours], [theirs])
                if pairs:
                    yield (model, study, bits, "all", *what, *zip(*pairs.values(), strict=True))
            first = next(iter(view.parameters.methods))
            if settings.methods is not None or (first, settings.reference) not in places:
                continue
            for method in [name for name in methods if name != first]:
                if (method, settings.reference) in places:
                    pair = [places[each, settings.reference] for each in (method, first)]
                    what = (shift, "method", method, first, view)
                    yield (model, study, bits, method, *what, pair[:1], pair[1:])


def variance_table(trials: pd.DataFrame, views: Mapping[tuple[str, str], Answers]) -> pd.DataFrame:
    """Return the crossed components of the worst class's drop for every cell and shift."""
    rows = []
    for key, part in trials.groupby(KEYS, sort=False):
        places = _places(part[part["seed"] == 0])
        for (model, shift), view in views.items():
            if model != key[0] or len(places) < 2:
                continue
            worst = int(np.nanargmax(view.drops[0][:, places].mean(1)))
            losses = view.losses[:, view.labels == worst]
            row = dict(zip(KEYS, key, strict=True))
            row |= {"shift": shift, "class": view.classes[worst]}
            rows.append(row | _components(part, losses))
    return pd.DataFrame(rows)


def _components(part: pd.DataFrame, losses: np.ndarray) -> dict[str, Any]:
    """Return spreads in points; between seeds too where every set was quantized with several."""
    table = part.pivot(index="draw", columns="seed", values="row").to_numpy()
    if table.shape[1] > 1 and (table >= 0).all():
        found = seeded_components(losses[table])
        seeds, between_seeds = found.seeds, 100 * found.drop_sd_between_seeds
    else:
        found = components(losses[_places(part[part["seed"] == 0])])
        seeds, between_seeds = 1, float("nan")
    return {
        "draws": found.draws,
        "seeds": seeds,
        "images": found.images,
        "sd_between_draws": 100 * found.drop_sd_between_draws,
        "sd_between_seeds": between_seeds,
        "sd_between_image_sets": 100 * found.drop_sd_between_image_sets,
        "draw_share": found.draw_share,
    }


def _places(part: pd.DataFrame) -> np.ndarray:
    return part.loc[part["row"] >= 0, "row"].to_numpy()
