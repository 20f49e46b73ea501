"""Reading a table of outcomes, CSV or parquet, whoever wrote it; every cell stays a text.

Only an empty cell is missing: ``NA`` is a name.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pandas as pd

from ptq_pipeline.core.delimited import read_delimited
from ptq_pipeline.core.errors import InputError, first_line
from ptq_pipeline.core.inputs import read_regular
from ptq_pipeline.judgement.verdict import SourceFile

# Beyond it a float cannot tell two integers apart.
_EXACT = 2**53


def read_outcome_file(path: Path) -> tuple[pd.DataFrame, SourceFile]:
    """Read a table and say which file it was.

    Args:
        path: ``.parquet``, or a CSV file in UTF-8 of any other name.

    Returns:
        Texts in every column, NaN where a cell is empty; names without blanks around them.

    Raises:
        InputError: The file is missing or cannot be read, or two columns have one name.
    """
    try:
        content = read_regular(path)
        table = _parquet(content) if path.suffix.lower() == ".parquet" else _csv(content)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"'{path}' does not exist; check the path") from None
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' cannot be read as a table: {first_line(error)}") from error
    names = [str(column).strip() for column in table.columns]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"'{path}' has two columns '{name}'; rename or remove one")
        if not name:
            raise InputError(f"'{path}' has a column without a name; name it, or remove it")
    if table.empty:
        raise InputError(f"'{path}' has no rows below its header")
    table.columns = pd.Index(names)
    return table, SourceFile(name=path.name, sha256=hashlib.sha256(content).hexdigest())


def _csv(content: bytes) -> pd.DataFrame:
    return read_delimited(content).apply(_stripped)


def _stripped(cells: pd.Series) -> pd.Series:
    cells = cells.str.strip()
    return cells.where(cells != "")


def _parquet(content: bytes) -> pd.DataFrame:
    table = pd.read_parquet(io.BytesIO(content))
    # An index with a name is a column that pandas put aside.
    table = table.reset_index() if any(table.index.names) else table
    return pd.DataFrame({name: texts_of(table[name]) for name in table.columns})


def texts_of(values: pd.Series) -> pd.Series:
    """Give values of any plain kind as texts: 3 and 3.0 are ``3``, true is ``1``; NaN is missing.

    Raises:
        ValueError: For anything but texts, numbers and truth values.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    known = values.notna()
    if pd.api.types.is_bool_dtype(values.dtype) and known.all():
        return values.astype(int).astype(str)
    if pd.api.types.is_numeric_dtype(values.dtype) and values.dtype.kind != "c":
        whole = pd.to_numeric(values[known])
        if (whole == whole.round()).all() and (whole.abs() <= _EXACT).all():
            return values[known].astype("int64").astype(str).reindex(values.index)
        texts = [repr(float(value)) for value in whole]
        return pd.Series(texts, whole.index, dtype="str").reindex(values.index)
    kinds = set(map(type, values[known]))
    if odd := [kind.__name__ for kind in kinds if not issubclass(kind, str | int | float)]:
        raise ValueError(f"column '{values.name}' holds a {odd[0]}; give texts or numbers")
    return _stripped(values.astype("str").where(known))
