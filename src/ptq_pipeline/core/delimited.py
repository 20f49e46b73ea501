"""CSV files as people write them, read as they are written."""

import csv
import io
import re

import pandas as pd
import pyarrow
from pyarrow import csv as arrow

DELIMITERS = ",;\t"


def read_delimited(content: bytes) -> pd.DataFrame:
    r"""Read a CSV file in UTF-8; every cell is a text, and an empty one is the empty text.

    Commas, semicolons or tabs, a byte order mark and the line ends of any system are read as they
    are. Rows without any cell are passed over.

    Raises:
        ValueError: It is not in UTF-8, a spreadsheet or empty, a row has more or fewer cells than
            the header, or a quote is not closed, which would hide the rows behind it.

    Examples:
        >>> read_delimited(b'unit;label\r\n1;"a;b"\r\n2;\r\n')["label"].tolist()
        ['a;b', '']
    """
    if content.startswith(b"PK\x03\x04"):
        raise ValueError("it is an Excel or zip file; save it as CSV in UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not in UTF-8; save it as CSV in UTF-8") from None
    header = re.split(r"[\r\n]", text, maxsplit=1)[0]
    delimiter = max(DELIMITERS, key=header.count)
    columns = next(csv.reader([header], delimiter=delimiter), [])
    if not columns:
        raise ValueError("it is empty")
    if "\n" not in text:
        # Arrow takes a header for one only with the end of its line.
        content += b"\n"
    if '"' in text:
        _check_quotes(text, delimiter)
    table = _parsed(content, delimiter, [str(number) for number in range(len(columns))])
    table.columns = pd.Index(columns)
    return table


def _parsed(content: bytes, delimiter: str, names: list[str]) -> pd.DataFrame:
    """The cells below the header, in columns of other names: those of a header may be equal."""
    odd: list[arrow.InvalidRow] = []

    def refuse(row: arrow.InvalidRow) -> str:
        odd.append(row)
        return "error"

    try:
        return arrow.read_csv(
            io.BytesIO(content),
            arrow.ReadOptions(column_names=names, skip_rows=1, use_threads=False),
            arrow.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=refuse
            ),
            arrow.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.string())),
        ).to_pandas()
    except ValueError:
        if not odd:
            raise
        found = odd[0]
        raise ValueError(
            f"row {found.number - 1} has {found.actual_columns} cells and the header "
            f"{found.expected_columns}"
        ) from None


def _check_quotes(text: str, delimiter: str) -> None:
    # Arrow takes what follows a quote that is not closed for one cell.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for _ in reader:
            pass
    except csv.Error as error:
        where = f"up to line {reader.line_num}"
        raise ValueError(f"the quotes do not match, {where}: {error}") from None
