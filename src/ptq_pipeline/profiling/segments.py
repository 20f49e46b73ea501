"""Columns of groups: cut from image features, or metadata of any type that the images came with."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pydantic
from pydantic import AfterValidator, ConfigDict, Field

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions, SegmentColumn
from ptq_pipeline.core.names import MISSING
from ptq_pipeline.models import FloatModel
from ptq_pipeline.profiling.features import COMPONENTS, IMAGE_FEATURES, Projection, profile

# Columns that this package writes into the tables that have segment columns.
OWN_COLUMNS = frozenset(
    {
        *("sample_id", "name", "path", "part", "content_hash", "split", "label", "cluster"),
        *("window", "comparison", "shift", "draw"),
        *("predicted", "confidence", "margin", *IMAGE_FEATURES),
        *(f"component_{number}" for number in range(1, COMPONENTS + 1)),
        # Where a column is named, these mean a level of groups.
        *("average", "class", "segment", "intersection"),
    }
)


def _increasing(quantiles: tuple[float, ...]) -> tuple[float, ...]:
    inside = all(0 < quantile < 1 for quantile in quantiles)
    if not inside or list(quantiles) != sorted(set(quantiles)):
        raise ValueError(f"quantiles must increase within (0, 1), got {quantiles}")
    return quantiles


Boundary = int | float | str
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


def define_segment(rule: SegmentRule, column: str, pool: pd.Series) -> SegmentColumn:
    """Fix the thresholds of a rule on the pool's values.

    Raises:
        InputError: if the feature is so unevenly distributed that two thresholds coincide.
    """
    thresholds = np.quantile(pool.dropna().to_numpy(), rule.quantiles)
    if np.any(np.diff(thresholds) <= 0):
        raise InputError(
            f"segment '{column}': feature '{rule.feature}' takes the same value at two of the "
            f"quantiles {list(rule.quantiles)} on the pool; choose other quantiles or drop it"
        )
    return SegmentColumn(names=rule.names, feature=rule.feature, thresholds=tuple(thresholds))


def cut_segment(column: SegmentColumn, values: pd.Series) -> pd.Series:
    """Return the segment name of each value, by what `define_segment` returned.

    A value equal to a threshold falls below it; a missing value is a group of its own.
    """
    names = [*column.names, MISSING]
    codes = np.searchsorted(column.thresholds, values.to_numpy(), side="left")
    codes = np.where(values.isna(), len(column.names), codes)
    return pd.Series(np.asarray(names, object)[codes], index=values.index)


def with_segments(
    table: pd.DataFrame, profiles: pd.DataFrame, definitions: GroupDefinitions
) -> pd.DataFrame:
    """Return ``table`` with every segment column that is cut from a feature.

    ``profiles`` are image features, row by row. Segments that the images' source gave are left
    alone.
    """
    columns = {
        name: cut_segment(column, profiles[column.feature])
        for name, column in definitions.segments.items()
        if column.feature is not None
    }
    return table.assign(**columns)


def profile_as_audited(
    images: np.ndarray,
    table: pd.DataFrame,
    model: FloatModel,
    projection: Projection,
    definitions: GroupDefinitions,
) -> pd.DataFrame:
    """Return profiles, segments and, where all are known, labels of images that arrived later.

    ``table`` holds ``label`` and the segment columns that their source gave, row by row.
    """
    profiles = profile(images, model, projection)
    if table["label"].notna().all():
        profiles.insert(0, "label", table["label"].astype(np.int64).to_numpy())
    given = {
        name: table[name].to_numpy()
        for name, column in definitions.segments.items()
        if column.feature is None
    }
    return with_segments(profiles, profiles, definitions).assign(**given)


def check_columns(columns: Iterable[str], where: str) -> None:
    """Refuse columns for groups that have the name of a column of ours, naming where they are."""
    for column in columns:
        if column in OWN_COLUMNS:
            raise InputError(
                f"{where} has a column '{column}' for groups, and this package writes a column of "
                "that name itself; rename it"
            )


def define_metadata(
    values: pd.Series, pool: np.ndarray, quantiles: Sequence[float], most_values: int
) -> SegmentColumn:
    """Freeze how one metadata column becomes groups.

    Categories, texts and truth values are groups as they are. Numbers and times with more than
    ``most_values`` different values are cut at quantiles of the pool, so that the other splits
    never move a boundary; the names hold the boundaries, for example ``q2 (34 to 51)``. A missing
    value is a group of its own.

    Args:
        values: the column; its name is used in errors.
        pool: truth value per row, whether it belongs to the pool.
        quantiles: increasing, in (0, 1).
        most_values: numbers and times with no more different values than this stay as they are.

    Returns:
        The groups that occur and, of a column that is cut, its boundaries.

    Raises:
        InputError: if a text column has more than half as many values as rows (an identifier, not a
            group), or the pool holds no number to cut at.

    Example:
        >>> ages = pd.Series([20, 30, 40, 50, None], name="age")
        >>> age = define_metadata(ages, np.full(5, True), [0.5], 2)
        >>> age.to_json()
        {'names': ['missing', 'q1 (<= 30)', 'q2 (> 30)'], 'boundaries': [30.0]}
        >>> metadata_groups(pd.Series([7, 99]), age.boundaries).tolist()
        ['q1 (<= 30)', 'q2 (> 30)']
    """
    require_groups(values, most_values)
    boundaries = None
    if _ordered(values) and not pd.api.types.is_bool_dtype(values):
        if values.nunique() > most_values:
            boundaries = _boundaries(values, pool, quantiles)
    names = sorted(metadata_groups(values, boundaries).unique())
    return SegmentColumn(names=tuple(names), boundaries=boundaries)


def require_groups(values: pd.Series, most_values: int) -> None:
    """Check that a metadata column says groups of images, and not which image it is.

    Raises:
        InputError: It is of texts, with more than half as many values as rows.
    """
    distinct = values.nunique()
    if not _ordered(values) and distinct > max(2 * most_values, len(values) // 2):
        raise InputError(
            f"metadata column '{values.name}' has {distinct:,} different texts on {len(values):,} "
            "images, so it names images and not groups; leave it out of the manifest, or write "
            "times as 2025-01-31, which are cut like numbers"
        )


def _ordered(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_any_dtype(values)


def metadata_groups(values: pd.Series, boundaries: Sequence[Boundary] | None) -> pd.Series:
    """Give the group of every image by one metadata column, which is cut if there are boundaries.

    Images without a value are ``missing``.

    Raises:
        InputError: the column was cut as numbers or times, and these values are neither.
    """
    if boundaries is None:
        shown = values.map(_shown, na_action="ignore").astype("object")
        _check_distinct(values, shown)
        return shown.where(values.notna(), MISSING)
    at: list[Any] = list(boundaries)
    try:
        if isinstance(at[0], str):
            at = [pd.Timestamp(time) for time in at]
            values = pd.to_datetime(values)
        else:
            values = pd.to_numeric(values)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"metadata column '{values.name}' is cut at {list(boundaries)} in the audit, and "
            f"here it holds other than numbers or times ({error})"
        ) from error
    names = [f"q1 (<= {_shown(at[0])})"]
    names += [
        f"q{number} ({_shown(low)} to {_shown(high)})"
        for number, (low, high) in enumerate(zip(at[:-1], at[1:], strict=True), 2)
    ]
    names.append(f"q{len(at) + 1} (> {_shown(at[-1])})")
    codes = np.searchsorted(pd.Series(at).to_numpy(), values.to_numpy(), side="left")
    groups = pd.Series(np.array(names, object)[codes.clip(max=len(at))], values.index, "object")
    return groups.where(values.notna(), MISSING)


def _check_distinct(values: pd.Series, shown: pd.Series) -> None:
    """Refuse different values that would become one group."""
    known = pd.DataFrame({"value": values, "shown": shown})[values.notna()]
    if values.isna().any() and (known["shown"] == MISSING).any():
        raise InputError(
            f"metadata column '{values.name}' holds the text '{MISSING}' and also images without a "
            "value, which are called that; give one of them another name"
        )
    alike = known.groupby("shown", sort=False)["value"].nunique()
    if (alike > 1).any():
        raise InputError(
            f"metadata column '{values.name}' holds {alike.max()} different values that are all "
            f"written '{alike.idxmax()}' (a number and a text, for example); make them one type"
        )


def _boundaries(
    values: pd.Series, pool: np.ndarray, quantiles: Sequence[float]
) -> tuple[Boundary, ...]:
    known = values[pool].dropna()
    known = known[~known.isin([np.inf, -np.inf])] if values.dtype.kind == "f" else known
    if known.empty:
        raise InputError(
            f"metadata column '{values.name}' has no value in the pool to find its quantiles by; "
            "fill it, or leave it out of the manifest"
        )
    # Observed values, not interpolated ones: a boundary can then be read in the data.
    at = sorted(set(known.quantile(list(quantiles), interpolation="lower")))
    return tuple(t.isoformat() if isinstance(t, pd.Timestamp) else np.asarray(t).item() for t in at)


def _shown(value: object) -> str:
    if isinstance(value, pd.Timestamp):
        return value.isoformat(sep=" ").removesuffix(" 00:00:00")
    if isinstance(value, float | np.floating):
        # All digits: identifiers that were read as numbers must not merge.
        return str(value + 0.0).removesuffix(".0")
    return str(value)
