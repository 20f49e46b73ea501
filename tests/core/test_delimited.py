import pytest

from ptq_pipeline.core.delimited import read_delimited


def cells(text):
    return [list(row) for row in read_delimited(text.encode()).itertuples(index=False)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_cells_are_texts_as_they_are_written(delimiter, end):
    rows = (("unit", "note"), ("01", "NA"), ("2", ""), ("3", '"a, b; c ""d""\n"'))
    text = "\ufeff" + "".join(delimiter.join(row) + end for row in rows)
    assert cells(text) == [["01", "NA"], ["2", ""], ["3", 'a, b; c "d"\n']]


@pytest.mark.parametrize(
    "text",
    [
        'unit,label\n1,"a\n2,b\n3,c\n',
        'unit,label\n1,"a\n2,"b\n3,c\n',
        'unit,label\n1,"a" x\n2,b\n',
    ],
    ids=["never closed", "closed by the next one", "closed before the end of its cell"],
)
def test_a_quote_that_would_hide_rows_is_refused(text):
    with pytest.raises(ValueError, match="the quotes do not match, up to line [234]"):
        cells(text)


def test_a_quote_within_a_cell_is_a_text():
    assert cells('unit,size\n1,5" nail\n2,b\n') == [["1", '5" nail'], ["2", "b"]]


def test_rows_that_do_not_fit_the_header_are_refused_by_number():
    with pytest.raises(ValueError, match="row 2 has 3 cells and the header 2"):
        cells("unit,label\n1,a\n2,b,c\n")
    with pytest.raises(ValueError, match="it is empty"):
        cells("")
    with pytest.raises(ValueError, match="it is not in UTF-8"):
        read_delimited("unit,label\n1,\u5317\n".encode("cp932"))
    with pytest.raises(ValueError, match="an Excel or zip file; save it as CSV"):
        read_delimited(b"PK\x03\x04" + bytes(300))


def test_a_header_alone_is_a_table_without_rows():
    assert read_delimited(b"unit,label").columns.tolist() == ["unit", "label"]
