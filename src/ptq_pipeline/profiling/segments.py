"""Segments cut from a numeric feature, at thresholds frozen on the pool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.errors import InputError

MISSING = "missing"


@dataclass(frozen=True)
class SegmentRule:
    """How a segment column is made: cut ``feature`` at ``quantiles`` into ``names``.

    Attributes:
        feature: a numeric profile column.
        quantiles: increasing, in (0, 1).
        names: one more than there are quantiles, from low to high.
    """

    feature: str
    quantiles: tuple[float, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class SegmentDefinition:
    """A rule with its thresholds frozen; a value equal to a threshold falls below it."""

    feature: str
    thresholds: tuple[float, ...]
    names: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Return plain lists."""
        return {
            "feature": self.feature,
            "thresholds": list(self.thresholds),
            "names": list(self.names),
        }


def freeze(rule: SegmentRule, column: str, pool: pd.Series) -> SegmentDefinition:
    """Fix the thresholds of ``rule`` on the pool's values.

    Raises:
        InputError: if the feature is so unevenly distributed that two thresholds coincide.
    """
    thresholds = np.quantile(pool.dropna().to_numpy(), rule.quantiles)
    if np.any(np.diff(thresholds) <= 0):
        raise InputError(
            f"segment '{column}': feature '{rule.feature}' takes the same value at two of the "
            f"quantiles {list(rule.quantiles)} on the pool; choose other quantiles or drop it"
        )
    return SegmentDefinition(rule.feature, tuple(float(t) for t in thresholds), rule.names)


def cut_segment(definition: SegmentDefinition, values: pd.Series) -> pd.Series:
    """Return the segment name of each value; a missing value is a group of its own."""
    names: Sequence[str] = [*definition.names, MISSING]
    codes = np.searchsorted(definition.thresholds, values.to_numpy(), side="left")
    codes = np.where(values.isna(), len(definition.names), codes)
    return pd.Series(np.asarray(names, object)[codes], index=values.index)


def with_segments(
    table: pd.DataFrame, profiles: pd.DataFrame, definitions: Mapping[str, Any]
) -> pd.DataFrame:
    """Return ``table`` with every segment column that is cut from a feature.

    Args:
        table: what to add the columns to.
        profiles: image features, row by row those of ``table``.
        definitions: content of ``group_definitions``; segments that the images' source gave have no
            thresholds and are left alone.
    """
    columns = {
        column: cut_segment(
            SegmentDefinition(entry["feature"], tuple(entry["thresholds"]), tuple(entry["names"])),
            profiles[entry["feature"]],
        )
        for column, entry in definitions["segments"].items()
        if "thresholds" in entry
    }
    return table.assign(**columns)
