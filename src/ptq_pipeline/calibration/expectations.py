"""Expectations that Great Expectations does not bring: shares and distributions as in a reference.

Importing this module imports Great Expectations (2-3 s), so import it where it is used. The
reference travels inside the suite, as one JSON text per column: GX copies and validates every
number of a list argument dozens of times per run, which made a set take five times as long.
"""

import json
from typing import Any, ClassVar

import pandas as pd
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnAggregateExpectation
from great_expectations.expectations.metrics.column_aggregate_metric_provider import (
    ColumnAggregateMetricProvider,
    column_aggregate_value,
)

from ptq_pipeline.calibration.distances import category_shares, js_divergence, ks_distance


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
