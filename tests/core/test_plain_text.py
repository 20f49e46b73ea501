import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.plain_text import plain, table_cell, visible


@pytest.mark.parametrize("text", ["a\nb", "a\r", "\x1b[2J", "a\u2028b", "\u202eexe", "\x00"])
def test_control_characters_are_refused_and_shown_as_escapes(text):
    with pytest.raises(InputError, match=r"the reason holds the control character U\+"):
        plain("the reason", text)
    assert visible(text).isprintable()


@pytest.mark.parametrize("text", ["Kim", "Zoë Müller", "山田", "می‌خواهم", "from Oslo: 3 %"])
def test_plain_text_stays_as_it_is(text):
    assert plain("x", text) == visible(text) == text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("=cmd|' /C calc'!A0 (clean)", "'=cmd|' /C calc'!A0 (clean)"),
        ("+1+1", "'+1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\\tx"),
        ("\r=1", "'\\r=1"),
        (" =1+1", "' =1+1"),
        ("-5", "-5"),
        ("-5e-3", "-5e-3"),
        ("T-shirt/top (clean)", "T-shirt/top (clean)"),
        ("a\nb", "a\\nb"),
        (3, 3),
    ],
)
def test_no_cell_of_a_table_runs_in_a_spreadsheet(given, expected):
    assert table_cell(given) == expected
