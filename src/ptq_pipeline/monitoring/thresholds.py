"""From which distance on a difference counts: too large to matter little, too large for chance.

Two samples of the *same* population are some distance apart, more so the smaller they are: at 256
rows easily a tenth of a standard deviation. A fixed threshold therefore either alarms on small
samples for nothing or sleeps through small drifts of large ones. Here a column has drifted when its
distance exceeds both

* the *material* threshold of the configuration, which does not know the sample's size, and
* the *sampling* threshold: what the reference's own population exceeds in any column with
  probability ``alpha`` at exactly this size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ptq_pipeline.statistics.distances import METHODS, located, weighted_distance


@dataclass(frozen=True)
class DriftColumn:
    """One profile column and how it is compared.

    Attributes:
        name: column of both tables.
        method: ``wasserstein`` for numbers, ``jensenshannon`` for categories.
        threshold: material threshold, in units of the method.
        optional: skip the column where the current table does not have it.
    """

    name: str
    method: str
    threshold: float
    optional: bool = False

    def __post_init__(self) -> None:
        """Refuse an unknown method and a threshold of zero."""
        if self.method not in METHODS:
            raise ValueError(
                f"drift column '{self.name}': method must be one of {METHODS}, got '{self.method}'"
            )
        if not self.threshold > 0:
            raise ValueError(
                f"drift column '{self.name}': threshold must be positive, got {self.threshold}"
            )


@dataclass(frozen=True)
class DriftSettings:
    """What is compared and how often an unchanged population may alarm.

    Attributes:
        columns: the columns, in the order of the table.
        alpha: chance that a sample of the reference's own population exceeds the sampling threshold
            of any column.
        resamples: resamples that estimate it.
        seed: seed of the resamples.
    """

    columns: tuple[DriftColumn, ...]
    alpha: float = 0.05
    resamples: int = 2_000
    seed: int = 0


def effective_size(multiplicities: Sequence[int] | np.ndarray) -> float:
    """Return how many independent rows a sample with repeated rows is worth.

    Kish's effective sample size ``(sum c)^2 / sum c^2`` for rows that occur ``c`` times: the mean
    of such a sample varies like that of so many different rows (Kish, Survey Sampling, 1965).

    Args:
        multiplicities: ``(distinct rows,)`` how often each row occurs.
    """
    counts = np.asarray(multiplicities, float)
    return float(counts.sum() ** 2 / (counts**2).sum())


def sampling_thresholds(
    reference: pd.DataFrame, settings: DriftSettings, size: int
) -> dict[str, float]:
    """Return the distance by column that ``size`` rows of the same population seldom exceed.

    A two-sample bootstrap: both sides are drawn again from the reference, ``size`` rows against as
    many rows as it has, so the reference's own sampling error counts as well (a plain subset of the
    reference would look closer to it than any fresh data can be). The level of the single column is
    chosen so that *any* column exceeds its threshold in ``alpha`` of the resamples (minimum p-value
    of Westfall and Young, 1993), which respects how the columns go together.

    Args:
        reference: ``(R, columns)`` with every column of ``settings``.
        settings: columns, level, number of resamples and seed.
        size: rows of the current sample, at least 1.

    Returns:
        Threshold by column name, in units of the column's method.
    """
    prepared = [
        (each.method, *located(each.method, reference[each.name])) for each in settings.columns
    ]
    generator = np.random.default_rng([settings.seed, size, len(reference)])
    rows = len(reference)
    values = np.empty((settings.resamples, len(prepared)))
    for resample in range(settings.resamples):
        drawn_reference = np.bincount(generator.integers(rows, size=rows), minlength=rows)
        drawn_current = np.bincount(generator.integers(rows, size=size), minlength=rows)
        for position, (method, support, codes) in enumerate(prepared):
            before = np.bincount(codes, drawn_reference, len(support))
            after = np.bincount(codes, drawn_current, len(support))
            values[resample, position] = weighted_distance(method, support, before, after)
    level = _column_level(values, settings.alpha)
    thresholds = np.quantile(values, 1 - level, axis=0, method="higher")
    return {
        column.name: float(value)
        for column, value in zip(settings.columns, thresholds, strict=True)
    }


def _column_level(values: np.ndarray, alpha: float) -> float:
    order = np.argsort(np.argsort(-values, axis=0, kind="stable"), axis=0, kind="stable")
    smallest = (order + 1).min(axis=1) / len(values)
    return float(np.quantile(smallest, alpha, method="lower"))
