"""The production reference as the validation carries it: shares and quantiles, no rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from ptq_pipeline.calibration.distances import category_shares
from ptq_pipeline.core.errors import InputError

CLASS_COLUMN = "class"
# Every 2 % of the reference. A distance that shows at 256 images is several such steps wide.
QUANTILES = 50


class ReferenceSummary(BaseModel):
    """What the reference's columns look like.

    Attributes:
        rows: number of rows of the reference.
        categories: categorical column to its categories.
        shares: categorical column to the share of each category and, last, of anything else.
        edges: numeric column to increasing quantile values of the reference.
        cdf: numeric column to the share of the reference at or below each edge.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int
    categories: dict[str, tuple[str, ...]]
    shares: dict[str, tuple[float, ...]]
    edges: dict[str, tuple[float, ...]]
    cdf: dict[str, tuple[float, ...]]


def batch_table(
    profiles: pd.DataFrame, definitions: Mapping[str, Any], features: Sequence[str]
) -> pd.DataFrame:
    """Return the columns that are validated: class name, segments, numeric features.

    Args:
        profiles: ``label``, segment columns and features, one row per image.
        definitions: ``{"classes": [...], "segments": {column: ...}}``.
        features: numeric columns to validate.

    Raises:
        InputError: if a feature is not in the profiles or has missing or infinite values.
    """
    unknown = [name for name in features if name not in profiles]
    if unknown:
        raise InputError(
            f"'calibration.validation.features' names {unknown}, which the profiles do not have; "
            f"they have {[name for name in profiles if profiles[name].dtype.kind in 'fi']}"
        )
    labels = profiles["label"].to_numpy()
    columns = {CLASS_COLUMN: np.asarray(definitions["classes"], object)[labels]}
    for segment in definitions["segments"]:
        columns[segment] = profiles[segment].astype(str).to_numpy(object)
    for name in features:
        columns[name] = profiles[name].to_numpy(np.float64)
        if not np.isfinite(columns[name]).all():
            raise InputError(
                f"profile feature '{name}' has missing or infinite values; repair the images or "
                "leave it out of 'calibration.validation.features'"
            )
    return pd.DataFrame(columns)


def summarise_reference(
    table: pd.DataFrame, definitions: Mapping[str, Any], features: Sequence[str]
) -> ReferenceSummary:
    """Reduce the reference to shares and quantiles.

    Args:
        table: the reference's rows as :func:`batch_table` returns them.
        definitions: ``{"classes": [...], "segments": {column: {"names": [...]}}}``.
        features: numeric columns.

    Raises:
        InputError: if the reference is empty.
    """
    if not len(table):
        raise InputError(
            "the split 'reference' is empty, so calibration sets cannot be validated; give it "
            "images in 'splits' of the image source"
        )
    categories = {CLASS_COLUMN: tuple(definitions["classes"])}
    for segment, definition in definitions["segments"].items():
        names = list(definition["names"])
        extra = sorted(set(table[segment]) - set(names))
        categories[segment] = (*names, *extra)
    shares = {
        column: tuple(category_shares(table[column].to_numpy(), names).tolist())
        for column, names in categories.items()
    }
    edges, cdf = {}, {}
    levels = np.arange(1, QUANTILES) / QUANTILES
    for name in features:
        values = np.sort(table[name].to_numpy())
        points = np.unique(np.quantile(values, levels, method="inverted_cdf"))
        edges[name] = tuple(points.tolist())
        cdf[name] = tuple((np.searchsorted(values, points, side="right") / len(values)).tolist())
    return ReferenceSummary(
        rows=len(table), categories=categories, shares=shares, edges=edges, cdf=cdf
    )
