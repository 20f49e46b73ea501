"""Groups from metadata columns of any type: categories as they are, numbers by quantiles."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ptq_pipeline.errors import InputError
from ptq_pipeline.profiling.segments import MISSING


def metadata_groups(
    values: pd.Series, pool: np.ndarray, quantiles: Sequence[float], most_values: int
) -> pd.Series:
    """Give the group of every sample by one metadata column.

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
        Texts, row by row.

    Raises:
        InputError: if a text column has more than half as many values as rows (an identifier, not a
            group), or the pool holds no number to cut at.

    Example:
        >>> ages = pd.Series([20, 30, 40, 50, None], name="age")
        >>> metadata_groups(ages, np.full(5, True), [0.5], 2).tolist()
        ['q1 (<= 30)', 'q1 (<= 30)', 'q2 (> 30)', 'q2 (> 30)', 'missing']
    """
    distinct = values.nunique()
    ordered = pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_any_dtype(values)
    if ordered and not pd.api.types.is_bool_dtype(values) and distinct > most_values:
        return _cut(values, pool, quantiles)
    if not ordered and distinct > max(2 * most_values, len(values) // 2):
        raise InputError(
            f"metadata column '{values.name}' has {distinct:,} different texts on {len(values):,} "
            "images, so it names images and not groups; leave it out of the manifest"
        )
    return values.map(_shown, na_action="ignore").astype("object").where(values.notna(), MISSING)


def _cut(values: pd.Series, pool: np.ndarray, quantiles: Sequence[float]) -> pd.Series:
    known = values[pool].dropna()
    known = known[~known.isin([np.inf, -np.inf])] if values.dtype.kind == "f" else known
    if known.empty:
        raise InputError(
            f"metadata column '{values.name}' has no value in the pool to find its quantiles by; "
            "fill it, or leave it out of the manifest"
        )
    # Observed values, not interpolated ones: a boundary can then be read in the data.
    at = sorted(set(known.quantile(list(quantiles), interpolation="lower")))
    names = [f"q1 (<= {_shown(at[0])})"]
    names += [
        f"q{number} ({_shown(low)} to {_shown(high)})"
        for number, (low, high) in enumerate(zip(at[:-1], at[1:], strict=True), 2)
    ]
    names.append(f"q{len(at) + 1} (> {_shown(at[-1])})")
    codes = np.searchsorted(np.array(at), values.to_numpy(), side="left")
    groups = pd.Series(np.array(names, object)[codes.clip(max=len(at))], values.index, "object")
    return groups.where(values.notna(), MISSING)


def _shown(value: object) -> str:
    if isinstance(value, pd.Timestamp):
        return value.isoformat(sep=" ").removesuffix(" 00:00:00")
    if isinstance(value, float | np.floating):
        return f"{value:g}"
    return str(value)
