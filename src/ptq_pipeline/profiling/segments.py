"""Segments cut from a numeric feature, at thresholds frozen on the pool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pydantic
from pydantic import AfterValidator, ConfigDict, Field

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import MISSING
from ptq_pipeline.models import FloatModel
from ptq_pipeline.profiling.features import IMAGE_FEATURES, Projection, profile


def _increasing(quantiles: tuple[float, ...]) -> tuple[float, ...]:
    inside = all(0 < quantile < 1 for quantile in quantiles)
    if not inside or list(quantiles) != sorted(set(quantiles)):
        raise ValueError(f"quantiles must increase within (0, 1), got {quantiles}")
    return quantiles


Quantiles = Annotated[tuple[float, ...], Field(min_length=1), AfterValidator(_increasing)]


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SegmentRule:
    """How a segment column is made: cut ``feature`` at ``quantiles`` of the pool into ``names``.

    Attributes:
        feature: an image feature.
        quantiles: increasing, in (0, 1).
        names: one more than there are quantiles, from low to high.
    """

    feature: str
    quantiles: Quantiles
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse an unknown feature and names that do not fit the quantiles."""
        if self.feature not in IMAGE_FEATURES:
            raise ValueError(f"feature '{self.feature}' is unknown; choose one of {IMAGE_FEATURES}")
        if len(set(self.names)) != len(self.quantiles) + 1:
            raise ValueError(
                f"{len(self.quantiles)} quantiles need {len(self.quantiles) + 1} different names"
            )


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


def profile_as_audited(
    images: np.ndarray,
    table: pd.DataFrame,
    model: FloatModel,
    projection: Projection,
    definitions: Mapping[str, Any],
) -> pd.DataFrame:
    """Return profiles, segments and, where all are known, labels of images that arrived later.

    Args:
        images: uint8 ``(N, C, H, W)``.
        table: ``label`` and the segment columns that their source gave, row by row.
        model: the float model.
        projection: of its features, fitted on the reference.
        definitions: content of ``group_definitions``.
    """
    profiles = profile(images, model, projection)
    if table["label"].notna().all():
        profiles.insert(0, "label", table["label"].astype(np.int64).to_numpy())
    given = {
        name: table[name].to_numpy()
        for name, entry in definitions["segments"].items()
        if "thresholds" not in entry
    }
    return with_segments(profiles, profiles, definitions).assign(**given)
