"""Tables that users bring, CSV or parquet: every cell counts as it is written."""

import io
import re
from contextlib import suppress
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from ptq_pipeline.core.delimited import read_delimited
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.inputs import read_regular

# Columns with a meaning of their own.
KNOWN = ("path", "label", "split", "cluster", "sha256")
_TIME = r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?"
_INTEGER = r"[+-]?(?:0|[1-9]\d*)"
_NUMBER = r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
# Beyond it a float cannot tell two integers apart.
_EXACT = 2**53


def read_table(
    path: Path, what: str, needed: tuple[str, ...], sha256: str | None = None
) -> pd.DataFrame:
    """Read a table; only an empty cell is missing, so ``NA`` and ``null`` are texts.

    A further column of a CSV file holds numbers when every cell is one, without leading zeros, and
    no two texts are the same number (versions ``1.1`` and ``1.10`` stay texts), and times when
    every cell is one as in ISO 8601.

    Args:
        path: ``.parquet``, or a CSV file in UTF-8 of any other name.
        what: what to call it in an error.
        needed: columns that must be there.
        sha256: declared hash.

    Raises:
        InputError: the file is missing, damaged or another one, or its columns cannot be used.
    """
    if not path.exists():
        raise InputError(f"{what} '{path}' does not exist; check the image source")
    try:
        content = read_regular(path, sha256)
        is_parquet = path.suffix.lower() == ".parquet"
        table = _parquet(content) if is_parquet else _csv(content)
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
    except Exception as error:
        raise InputError(f"{what} '{path}' cannot be read: {error}") from error
    _check_columns(table, f"{what} '{path}'", needed)
    return table


def _csv(content: bytes) -> pd.DataFrame:
    cells = read_delimited(content).astype(object)
    cells = cells.where(cells != "", None)
    if not cells.columns.is_unique:
        return cells
    plain = ("path", "split", "cluster", "sha256")
    return cells.assign(**{c: _numbers(cells[c], c) for c in cells if c not in plain})


def _numbers(cells: pd.Series, column: str) -> pd.Series:
    """The cells as numbers or times, where that changes none of them."""
    known = cells.dropna()
    if column != "label" and not known.empty and known.str.fullmatch(_TIME).all():
        with suppress(ValueError):
            return pd.to_datetime(cells, format="ISO8601")
    pattern = _INTEGER if column == "label" else _NUMBER
    if known.empty or not known.str.fullmatch(pattern).all():
        return cells
    whole = known.str.fullmatch(_INTEGER).all()
    numbers = known.map(int if whole else float)
    largest = max(abs(number) for number in numbers)
    if largest > (_EXACT if whole else np.finfo(float).max) or known.nunique() > numbers.nunique():
        return cells
    if whole and column == "label":
        return numbers.reindex(cells.index).astype("int64" if len(known) == len(cells) else "Int64")
    return numbers.reindex(cells.index).astype("int64" if whole and cells.notna().all() else float)


def _parquet(content: bytes) -> pd.DataFrame:
    table = pd.read_parquet(io.BytesIO(content))
    if not table.columns.is_unique:
        return table
    return table.assign(**{str(column): _plain(table[column]) for column in table})


def _plain(values: pd.Series) -> pd.Series:
    """A column without pandas' own types; of texts, the empty one is missing."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    if pd.api.types.is_integer_dtype(values) and values.hasnans:
        return values if values.abs().max() <= _EXACT else values.astype(object)
    if values.dtype == object or isinstance(values.dtype, pd.StringDtype):
        values = values.astype(object)
        for value in values.dropna():
            if not isinstance(value, str | int | float | np.generic | date):
                kind = type(value).__name__
                raise ValueError(f"column '{values.name}' holds a {kind}; give texts or numbers")
        values = values.where(values.notna() & (values != ""), None)
    return values


def _check_columns(table: pd.DataFrame, what: str, needed: tuple[str, ...]) -> None:
    columns = [str(column) for column in table]
    for column in needed:
        if column not in columns:
            raise InputError(f"{what} has no column '{column}'; it has {columns}")
    for column in columns:
        if columns.count(column) > 1:
            raise InputError(f"{what} has two columns '{column}'; rename or remove one")
        if not re.sub(r"^Unnamed: \d+$", "", column).strip():
            raise InputError(f"{what} has a column without a name; name it, or remove it")
        near = next((each for each in KNOWN if each == column.strip().lower() != column), None)
        if near is not None:
            raise InputError(
                f"{what} has a column '{column}', which would be no '{near}' but groups of that "
                f"name; write '{near}'"
            )
