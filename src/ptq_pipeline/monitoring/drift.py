"""Drift of profile columns: Evidently, with method and threshold of every column explicit."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.monitoring.thresholds import DriftSettings, effective_size, sampling_thresholds
from ptq_pipeline.statistics.distances import JENSEN_SHANNON, WASSERSTEIN

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


def drift_report(
    current: pd.DataFrame, reference: pd.DataFrame, settings: DriftSettings, name: str = "current"
) -> DriftResult:
    """Compare ``current`` with ``reference``, column by column.

    Args:
        current: rows to judge. Rows that repeat (an image in several calibration sets) share their
            index label; they count as often as they stand there, and the thresholds know it.
        reference: rows that stand for what the model was audited on.
        settings: columns with method and material threshold, level, resamples, seed.
        name: what ``current`` is called in errors and in the report.

    Returns:
        Table, Evidently's snapshot and its HTML. Tables of the same input are identical.

    Raises:
        InputError: if a table is empty, a column is missing, or a value is missing or not finite.
    """
    skipped = tuple(
        column.name
        for column in settings.columns
        if column.optional and column.name not in current.columns
    )
    settings = replace(
        settings, columns=tuple(c for c in settings.columns if c.name not in skipped)
    )
    now = _checked(current, settings, name)
    before = _checked(reference, settings, "reference")
    independent = effective_size(current.index.value_counts(sort=False).to_numpy())
    chance = sampling_thresholds(before, settings, max(1, int(independent)))
    thresholds = {
        column.name: round(max(column.threshold, chance[column.name]), 6)
        for column in settings.columns
    }
    content, html = _run_evidently(now, before, settings, thresholds, name)
    values = {metric["config"]["column"]: metric["value"] for metric in content["metrics"]}
    status = {
        test["metric_config"]["params"]["column"]: test["status"] for test in content["tests"]
    }
    rows = [
        {
            "column": column.name,
            "method": column.method,
            "value": round(float(values[column.name]), DECIMALS),
            "threshold": thresholds[column.name],
            "material_threshold": column.threshold,
            "sampling_threshold": round(chance[column.name], 6),
            "drifted": status[column.name] == "FAIL",
            "n": len(now),
            "effective_n": round(independent, 1),
            "n_reference": len(before),
        }
        for column in settings.columns
    ]
    return DriftResult(pd.DataFrame(rows), skipped, content, html)


def _checked(table: pd.DataFrame, settings: DriftSettings, name: str) -> pd.DataFrame:
    if table.empty:
        raise InputError(f"drift: '{name}' has no rows; check where it is read from")
    checked = {}
    for column in settings.columns:
        if column.name not in table.columns:
            raise InputError(
                f"drift: '{name}' has no column '{column.name}'; "
                "add it to the table or take it out of 'drift.columns'"
            )
        values = table[column.name]
        unusable = int(values.isna().sum())
        if column.method == WASSERSTEIN:
            if not pd.api.types.is_numeric_dtype(values):
                raise InputError(
                    f"drift: column '{column.name}' of '{name}' is not numeric ({values.dtype}); "
                    "compare it by 'jensenshannon' or correct the table"
                )
            unusable = int((~np.isfinite(values.to_numpy(float))).sum())
        if unusable:
            raise InputError(
                f"drift: column '{column.name}' of '{name}' holds {unusable} missing or infinite "
                f"values in {len(values)} rows; correct the table or take the column out"
            )
        categorical = column.method == JENSEN_SHANNON
        checked[column.name] = _categories(values) if categorical else values.astype(float)
    return pd.DataFrame(checked).reset_index(drop=True)


def _categories(values: pd.Series) -> pd.Series:
    # Plain strings: class 3 is one category whether a table holds it as int64, int16 or, because
    # another window had no labels, as 3.0.
    if pd.api.types.is_float_dtype(values) and (values % 1 == 0).all():
        values = values.astype("int64")
    return values.astype(str).astype(object)


def _run_evidently(
    current: pd.DataFrame,
    reference: pd.DataFrame,
    settings: DriftSettings,
    thresholds: dict[str, float],
    name: str,
) -> tuple[dict[str, Any], str]:
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    definition = DataDefinition(
        numerical_columns=[c.name for c in settings.columns if c.method == WASSERSTEIN],
        categorical_columns=[c.name for c in settings.columns if c.method == JENSEN_SHANNON],
    )
    report = Report(
        [
            ValueDrift(column=c.name, method=c.method, threshold=thresholds[c.name])
            for c in settings.columns
        ],
        include_tests=True,
    )
    snapshot = report.run(
        Dataset.from_pandas(current, definition),
        Dataset.from_pandas(reference, definition),
        name=name,
    )
    return snapshot.dict(), snapshot.get_html_str(as_iframe=False)
