# ruff: noqa: E402 - a setting comes before the import that reads it
"""Great Expectations: suites that run on one table after another, and expectations of our own.

Importing this module imports Great Expectations (2-3 s), so import it where it is used. A reference
travels inside the suite, as one JSON text per column: GX copies and validates every number of a
list argument dozens of times per run, which made a set take five times as long.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from ptq_pipeline.calibration.suite import NOWHERE, ExpectationSpec, Rows
from ptq_pipeline.core.files import replacing_folder
from ptq_pipeline.statistics.distances import category_shares, js_divergence, ks_distance

# Read when the library is imported: nothing phones home, also outside Kedro.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
import great_expectations.expectations as core
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnAggregateExpectation
from great_expectations.expectations.metrics.column_aggregate_metric_provider import (
    ColumnAggregateMetricProvider,
    column_aggregate_value,
)


class Suite:
    """A suite in an in-memory context; expectations are Great Expectations' own or those below."""

    def __init__(self, name: str, expectations: Sequence[Any]) -> None:
        self._name = name
        self._context = gx.get_context(mode="ephemeral")
        self._context.variables.progress_bars = ProgressBarsConfig(
            globally=False, metric_calculations=False
        )
        asset = self._context.data_sources.add_pandas(name).add_dataframe_asset("tables")
        suite = gx.ExpectationSuite(name=name, expectations=list(expectations))
        self._definition = self._context.validation_definitions.add(
            gx.ValidationDefinition(
                name=name,
                data=asset.add_batch_definition_whole_dataframe("table"),
                suite=self._context.suites.add(suite),
            )
        )

    def run(self, table: pd.DataFrame, run_name: str | None = None) -> list[Any]:
        """Return the result of every expectation; pages of the run are called ``run_name``."""
        return self._definition.run(
            batch_parameters={"dataframe": table},
            result_format="BASIC",
            run_id=RunIdentifier(run_name=run_name),
        ).results

    @staticmethod
    def raised(outcome: Any) -> str:
        """Return why an expectation could not be checked, or nothing.

        Great Expectations writes one exception, or several by metric.
        """
        info = outcome.exception_info or {}
        for entry in (info, *(each for each in info.values() if isinstance(each, Mapping))):
            if entry.get("raised_exception"):
                return str(entry.get("exception_message") or "unknown error")
        return ""

    def build_docs(self, directory: Path) -> None:
        """Write the Data Docs of all runs so far; replaces ``directory``.

        The pages load styles from the network when opened: they are a convenience, the tables of
        this package are the record.
        """
        with replacing_folder(directory) as scratch:
            backend = {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(scratch.absolute()),
            }
            self._context.add_data_docs_site(
                site_name=self._name,
                site_config={
                    "class_name": "SiteBuilder",
                    "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                    "store_backend": backend,
                },
            )
            self._context.build_data_docs(site_names=[self._name])


class ColumnSharesDivergence(ColumnAggregateMetricProvider):
    """Jensen-Shannon divergence (bits) of a column's shares from those of the reference."""

    metric_name = "column.shares_divergence"
    value_keys = ("reference",)

    @column_aggregate_value(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, reference: str, **kwargs: Any) -> float:  # noqa: N805
        content = json.loads(reference)
        shares = category_shares(column.to_numpy(), content["categories"])
        return float(js_divergence(shares, content["shares"]))


class ColumnKsDistance(ColumnAggregateMetricProvider):
    """Two-sample Kolmogorov-Smirnov distance of a column from the reference's quantiles."""

    metric_name = "column.ks_distance"
    value_keys = ("reference",)

    @column_aggregate_value(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, reference: str, **kwargs: Any) -> float:  # noqa: N805
        content = json.loads(reference)
        return ks_distance(column.to_numpy(), content["edges"], content["cdf"])


class _ExpectAtMost(ColumnAggregateExpectation):
    """A column's distance from the reference must not exceed a threshold."""

    reference: str
    max_value: float

    success_keys: ClassVar[tuple[str, ...]] = ("reference", "max_value")

    def _validate(
        self, metrics: dict, runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        observed = float(metrics[self.metric_dependencies[0]])
        # GX writes results as JSON, which knows no numpy.bool.
        return {
            "success": bool(observed <= self.max_value),
            "result": {"observed_value": observed},
        }


class ExpectColumnSharesDivergenceToBeAtMost(_ExpectAtMost):
    """Expect the shares of a column's values to be close to those of the reference."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("column.shares_divergence",)


class ExpectColumnKsDistanceToBeAtMost(_ExpectAtMost):
    """Expect the distribution of a column to be close to that of the reference."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("column.ks_distance",)


class SetSuite(Suite):
    """What is expected of calibration sets; its results are rows of ``calibration_validation``."""

    def __init__(self, specs: Sequence[ExpectationSpec]) -> None:
        super().__init__("calibration_set", [_expectation(spec) for spec in specs])
        self._specs = {spec.name: spec for spec in specs}

    def rows(self, table: pd.DataFrame, run_name: str) -> Rows:
        """Validate one table; pages of the run are called ``run_name``.

        Returns:
            One row per expectation: ``expectation``, ``column``, ``metric``, ``observed``,
            ``threshold``, ``success``, ``error``. An expectation that raised has its message in
            ``error``, no observed value, and no success.
        """
        return [self._row(outcome) for outcome in self.run(table, run_name)]

    def _row(self, outcome: Any) -> dict[str, Any]:
        spec = self._specs[outcome.expectation_config.meta["name"]]
        found = outcome.result or {}
        value = found.get("observed_value", found.get("unexpected_count"))
        error = self.raised(outcome) or ("no value was observed" if value is None else "")
        return {
            "expectation": spec.name,
            "column": spec.column,
            "metric": spec.metric,
            "observed": None if error else float(value),
            "threshold": spec.threshold,
            "success": bool(outcome.success) and not error,
            "error": error,
        }


def _expectation(spec: ExpectationSpec) -> Any:
    common = {"meta": {"name": spec.name}, "description": spec.description}
    if spec.kind == "size":
        return core.ExpectTableRowCountToEqual(value=int(spec.threshold), **common)
    common["column"] = spec.column
    if spec.kind == "unique":
        return core.ExpectColumnValuesToBeUnique(**common)
    if spec.kind == "overlap":
        return core.ExpectColumnValuesToBeInSet(value_set=[NOWHERE], **common)
    kinds = {
        "shares": ExpectColumnSharesDivergenceToBeAtMost,
        "distance": ExpectColumnKsDistanceToBeAtMost,
    }
    return kinds[spec.kind](reference=spec.reference, max_value=spec.threshold, **common)
