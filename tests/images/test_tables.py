import hashlib

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.samples import encode_labels
from ptq_pipeline.images.tables import read_table


def read(folder, text, needed=("path",), **options):
    path = folder / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, "manifest", needed, **options)


def test_only_an_empty_cell_is_missing(tmp_path):
    table = read(tmp_path, "path,region\na,NA\nb,\nc,null\nd,None\ne,nan\n")
    assert table["region"].tolist() == ["NA", None, "null", "None", "nan"]


@pytest.mark.parametrize(
    ("cells", "expected", "kind"),
    [
        ("1 2 3", [1, 2, 3], "i"),
        ("1.5 2 -3e2", [1.5, 2, -300], "f"),
        ("1 - 3", [1.0, np.nan, 3.0], "f"),
        ("007 7 8", ["007", "7", "8"], "O"),
        ("1.1 1.10 2", ["1.1", "1.10", "2"], "O"),
        ("9007199254740993 9007199254740992 1", None, "O"),
        ("1 2 x", ["1", "2", "x"], "O"),
        ("1 2 nan", ["1", "2", "nan"], "O"),
        ("1 2 1e999", ["1", "2", "1e999"], "O"),
        ("10000001 10000002 3", [10000001, 10000002, 3], "i"),
    ],
)
def test_cells_become_numbers_only_where_none_changes(tmp_path, cells, expected, kind):
    given = ["" if cell == "-" else cell for cell in cells.split()]
    rows = "".join(f"{row},{cell}\n" for row, cell in enumerate(given))
    column = read(tmp_path, f"path,id\n{rows}")["id"]
    assert column.dtype.kind == kind
    pd.testing.assert_series_equal(
        column, pd.Series(given if expected is None else expected, name="id"), check_dtype=False
    )


def test_ids_of_clusters_and_labels_stay_as_they_are_written(tmp_path):
    table = read(tmp_path, "path,label,cluster,split\n1,01,1.0,\n2,2,1,audit\n")
    assert table["label"].tolist() == ["01", "2"]
    assert table["cluster"].tolist() == ["1.0", "1"]
    assert table["split"].tolist() == [None, "audit"]
    assert read(tmp_path, "path,label\na,1\nb,\n")["label"].tolist() == [1, pd.NA]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,x,x\na,b,1,2\n", "has two columns 'x'"),
        ("path,label,Split\na,b,audit\n", "'Split', which would be no 'split' but groups"),
        ("path,label, cluster\na,b,c\n", "' cluster', which would be no 'cluster'"),
        (",path,label\n0,a,b\n", "a column without a name"),
        ("path,label\na,b,c\n", "row 1 has 3 cells and the header 2"),
        ("path,label\na\n", "row 1 has 1 cells"),
        ('path,label\n"a,b\n', "cannot be read: the quotes do not match"),
        ("file,label\na,b\n", "has no column 'path'"),
        ("", "it is empty"),
        ("path,label\n\u5317,b\n".encode("cp932"), "list.csv' cannot be read: it is not in UTF-8"),
    ],
)
def test_columns_that_would_be_lost_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    assert list(read(tmp_path, "\ufeffpath,label\r\na,b\r\n")) == ["path", "label"]


def test_parquet_holds_the_same_rules(tmp_path):
    path = tmp_path / "list.parquet"
    pd.DataFrame(
        {
            "path": ["a", "b", "c"],
            "label": pd.Categorical(["x", "y", "x"]),
            "region": ["NA", "", None],
            "id": pd.array([2**60, None, 2**60 + 1], "Int64"),
            "day": pd.to_datetime(["2026-01-01", "2026-01-02", None]),
        }
    ).to_parquet(path)
    table = read_table(path, "manifest", ("path", "label"))
    assert table["label"].tolist() == ["x", "y", "x"]
    assert table["region"].tolist() == ["NA", None, None]
    assert table["id"].dropna().tolist() == [2**60, 2**60 + 1]
    assert table["day"].dtype.kind == "M"
    pd.DataFrame({"path": ["a"], "boxes": [[1, 2]]}).to_parquet(path)
    with pytest.raises(InputError, match="column 'boxes' holds a ndarray"):
        read_table(path, "manifest", ("path",))
    pd.DataFrame({"path": ["a"], "Label": ["b"]}).to_parquet(path)
    with pytest.raises(InputError, match="'Label', which would be no 'label'"):
        read_table(path, "manifest", ("path",))


def test_a_table_of_another_hash_is_refused(tmp_path):
    text = "path\na\n"
    right = hashlib.sha256(text.encode()).hexdigest()
    assert len(read(tmp_path, text, sha256=right)) == 1
    with pytest.raises(InputError, match="is not the file that its 'sha256' declares"):
        read(tmp_path, "path\nb\n", sha256=right)


def test_dates_are_times(tmp_path):
    days = "path,day,note\na,2026-01-31,2026-01-31\nb,2026-02-01 12:30,2026-02-30\nc,,x\n"
    table = read(tmp_path, days)
    assert table["day"].tolist()[:2] == [
        pd.Timestamp("2026-01-31"),
        pd.Timestamp(2026, 2, 1, 12, 30),
    ]
    assert pd.isna(table["day"][2]) and table["note"].dtype == object


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pd.Series(["dog", "cat"], dtype="category"), [1, 0]),
        (pd.Series([1, 0], dtype="category"), [1, 0]),
        (pd.Series([1, 0], dtype="Int64"), [1, 0]),
        (pd.Series([1.0, 0.0], dtype="Float64"), [1, 0]),
        (pd.Series(["dog", "cat"], dtype="string"), [1, 0]),
        (pd.Series([1, 0], dtype="int8"), [1, 0]),
    ],
)
def test_labels_of_every_type_of_parquet(tmp_path, labels, expected):
    pd.DataFrame({"path": ["a", "b"], "label": labels}).to_parquet(tmp_path / "list.parquet")
    table = read_table(tmp_path / "list.parquet", "manifest", ("path", "label"))
    found = encode_labels(table.assign(name=table["path"]), ("cat", "dog"))
    assert found.tolist() == expected


@pytest.mark.parametrize("labels", [[["cat"], ["cat", "dog"]], [{"a": 1}, {"a": 2}]])
def test_a_column_of_lists_is_refused(tmp_path, labels):
    pd.DataFrame({"path": ["a", "b"], "label": labels}).to_parquet(tmp_path / "list.parquet")
    with pytest.raises(InputError, match="column 'label' holds a .*; give texts or numbers"):
        read_table(tmp_path / "list.parquet", "manifest", ("path", "label"))
