"""Drift of profile columns: Evidently, with method and threshold of every column explicit.

Two samples of the *same* population are some distance apart, more so the smaller they are: at 256
rows easily a tenth of a standard deviation. A fixed threshold therefore either alarms on small
samples for nothing or sleeps through small drifts of large ones. Here a column has drifted when its
distance exceeds both

* the *material* threshold of the configuration, which does not know the sample's size, and
* the *sampling* threshold: what the reference's own population exceeds in any column with
  probability ``alpha`` at exactly this size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.monitoring.parameters import DriftColumn, DriftParameters
from ptq_pipeline.statistics.distances import (
    JENSEN_SHANNON,
    WASSERSTEIN,
    joint_thresholds,
    located,
    weighted_distance,
)

# Evidently sums categories in the order of a set of strings, which differs from run to run in the
# last bits; tables must not.
DECIMALS = 10


@dataclass(frozen=True, eq=False)
class DriftResult:
    """One comparison of a current table with the reference.

    Attributes:
        table: one row per column: ``column``, ``method``, ``value`` (distance), ``threshold`` (the
            larger of the next two), ``material_threshold``, ``sampling_threshold``, ``drifted``,
            ``n`` (rows), ``effective_n`` (independent rows), ``n_reference``.
        skipped: optional columns that the current table does not have.
        content: Evidently's snapshot as plain JSON values.
        html: Evidently's report, one file of about 4 MB that loads nothing from elsewhere. It names
            random element ids, so its bytes differ from run to run.
    """

    table: pd.DataFrame
    skipped: tuple[str, ...]
    content: dict[str, Any]
    html: str

    @property
    def drifted_columns(self) -> list[str]:
        """Columns beyond their threshold, furthest first."""
        alarms = self.table[self.table["drifted"]]
        order = (alarms["value"] / alarms["threshold"]).sort_values(ascending=False).index
        return alarms.loc[order, "column"].tolist()

    @property
    def drifted(self) -> bool:
        """True when at least one column is beyond its threshold."""
        return bool(self.table["drifted"].any())


def _thresholds(columns: Mapping[str, DriftColumn], chance: Mapping[str, float]) -> pd.DataFrame:
    """Return the table of a comparison that is still to be made."""
    return pd.DataFrame(
        {
            "column": column,
            "method": how.method,
            "value": np.nan,
            "threshold": round(max(how.threshold, chance[column]), 6),
            "material_threshold": how.threshold,
            "sampling_threshold": round(chance[column], 6),
            "drifted": False,
        }
        for column, how in columns.items()
    )


def drift_report(
    current: pd.DataFrame,
    reference: pd.DataFrame,
    parameters: DriftParameters,
    name: str = "current",
) -> DriftResult:
    """Compare ``current`` with ``reference``, column by column.

    Args:
        current: rows to judge. Rows that repeat (an image in several calibration sets) share their
            index label; they count as often as they occur, and the thresholds know it.
        reference: rows that stand for what the model was audited on.
        parameters: columns with method and material threshold, level, resamples, seed.
        name: what ``current`` is called in errors and in the report.

    Returns:
        Table, Evidently's snapshot and its HTML. Tables of the same input are identical.

    Raises:
        InputError: if a table is empty, a column is missing, or a value is missing or not finite.
    """
    skipped = tuple(
        column
        for column, how in parameters.columns.items()
        if how.optional and column not in current.columns
    )
    columns = {each: how for each, how in parameters.columns.items() if each not in skipped}
    parameters = parameters.model_copy(update={"columns": columns})
    now, before = _checked(current, columns, name), _checked(reference, columns, "reference")
    independent = effective_size(current.index.value_counts(sort=False).to_numpy())
    chance = sampling_thresholds(before, parameters, max(1, int(independent)))
    table = _thresholds(columns, chance).assign(
        n=len(now), effective_n=round(independent, 1), n_reference=len(before)
    )
    content, html = _run_evidently(now, before, table, name)
    values = {metric["config"]["column"]: metric["value"] for metric in content["metrics"]}
    failed = {
        test["metric_config"]["params"]["column"]: test["status"] == "FAIL"
        for test in content["tests"]
    }
    table["value"] = [round(float(values[column]), DECIMALS) for column in table["column"]]
    table["drifted"] = [failed[column] for column in table["column"]]
    return DriftResult(table, skipped, content, html)


def require_columns(table: pd.DataFrame, parameters: DriftParameters, name: str) -> None:
    """Check that a table, called ``name`` in errors, has every column that will be compared.

    Raises:
        InputError: as from `drift_report`.
    """
    _checked(table, parameters.columns, name)


def _checked(table: pd.DataFrame, columns: Mapping[str, DriftColumn], name: str) -> pd.DataFrame:
    if table.empty:
        raise InputError(f"drift: '{name}' has no rows; check where it is read from")
    checked = {}
    for column, how in columns.items():
        if column not in table.columns:
            raise InputError(
                f"drift: '{name}' has no column '{column}'; take it out of 'drift.columns', or "
                f"leave 'drift.columns' out, which compares all there are ({_listed(table)})"
            )
        values = table[column]
        unusable = int(values.isna().sum())
        if how.method == WASSERSTEIN:
            if not pd.api.types.is_numeric_dtype(values):
                raise InputError(
                    f"drift: column '{column}' of '{name}' is not numeric ({values.dtype}); "
                    "compare it by 'jensenshannon' or correct the table"
                )
            unusable = int((~np.isfinite(values.to_numpy(float))).sum())
        if unusable:
            raise InputError(
                f"drift: column '{column}' of '{name}' holds {unusable} missing or infinite "
                f"values in {len(values)} rows; correct the table or take the column out"
            )
        categorical = how.method == JENSEN_SHANNON
        checked[column] = _categories(values) if categorical else values.astype(float)
    return pd.DataFrame(checked).reset_index(drop=True)


def _listed(table: pd.DataFrame) -> str:
    return ", ".join(str(name) for name in table if name not in ("sample_id", "split"))


def _categories(values: pd.Series) -> pd.Series:
    # Plain strings: class 3 is one category whether a table holds it as int64, int16 or, because
    # another window had no labels, as 3.0.
    if pd.api.types.is_float_dtype(values) and (values % 1 == 0).all():
        values = values.astype("int64")
    return values.astype(str).astype(object)


def _run_evidently(
    current: pd.DataFrame, reference: pd.DataFrame, table: pd.DataFrame, name: str
) -> tuple[dict[str, Any], str]:
    # Evidently takes seconds to import.
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    by_method = table.groupby("method")["column"].agg(list)
    definition = DataDefinition(
        numerical_columns=by_method.get(WASSERSTEIN, []),
        categorical_columns=by_method.get(JENSEN_SHANNON, []),
    )
    metrics = [
        ValueDrift(column=row.column, method=row.method, threshold=row.threshold)
        for row in table.itertuples()
    ]
    snapshot = Report(metrics, include_tests=True).run(
        Dataset.from_pandas(current, definition),
        Dataset.from_pandas(reference, definition),
        name=name,
    )
    return snapshot.dict(), snapshot.get_html_str(as_iframe=False)


def effective_size(multiplicities: Sequence[int] | np.ndarray) -> float:
    """Return how many independent rows a sample is worth in which rows occur so many times.

    Kish's effective sample size ``(sum c)^2 / sum c^2`` for rows that occur ``c`` times: the mean
    of such a sample varies like that of so many different rows (Kish, Survey Sampling, 1965).
    """
    counts = np.asarray(multiplicities, float)
    return float(counts.sum() ** 2 / (counts**2).sum())


def sampling_thresholds(
    reference: pd.DataFrame, parameters: DriftParameters, size: int
) -> dict[str, float]:
    """Return the distance by column that ``size`` rows of the same population seldom exceed.

    A two-sample bootstrap: both sides are drawn again from the reference, ``size`` rows against as
    many rows as it has, so the reference's own sampling error counts as well (a plain subset of the
    reference would look closer to it than any fresh data can be). In ``alpha`` of the resamples
    *any* column exceeds its threshold, see `joint_thresholds`.

    Args:
        reference: ``(R, columns)`` with every column of ``parameters``.
        parameters: columns, level, number of resamples and seed.
        size: rows of the current sample, at least 1.

    Returns:
        Threshold by column name, in units of the column's method.
    """
    prepared = [
        (how.method, *located(how.method, reference[column]))
        for column, how in parameters.columns.items()
    ]
    generator = np.random.default_rng([parameters.seed, size, len(reference)])
    rows = len(reference)
    values = np.empty((parameters.resamples, len(prepared)))
    for resample in range(parameters.resamples):
        drawn_reference = np.bincount(generator.integers(rows, size=rows), minlength=rows)
        drawn_current = np.bincount(generator.integers(rows, size=size), minlength=rows)
        for position, (method, support, codes) in enumerate(prepared):
            before = np.bincount(codes, drawn_reference, len(support))
            after = np.bincount(codes, drawn_current, len(support))
            values[resample, position] = weighted_distance(method, support, before, after)
    thresholds, _ = joint_thresholds(values, parameters.alpha)
    return dict(zip(parameters.columns, thresholds.tolist(), strict=True))
