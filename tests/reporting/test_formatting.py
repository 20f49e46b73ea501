import math

import pytest

from ptq_pipeline.reporting.texts import clean_text, count, load_texts, number, points, shorten


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0876, "8.8"),
        (-0.001, "−0.1"),
        (-0.0001, "0.0"),
        (0.0, "0.0"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_points_are_rounded_and_missing_is_never_zero(value, shown):
    assert points(value) == shown


def test_counts_and_percentages_are_grouped_for_reading():
    assert count(8000) == "8,000"
    assert count(None) == "–"
    assert load_texts("en").percent(0.93456, 2) == "93.46\u00a0%"


def test_interval_needs_both_ends():
    assert load_texts("en").interval([0.06, 0.121]) == "6.0 to 12.1"
    assert load_texts("en").interval([0.06, None]) == "–"
    assert load_texts("en").interval(None) == "–"


def test_small_numbers_keep_significant_digits():
    assert number(0.0312) == "0.0312"
    assert number(0.0000123) == "1.23e−5"
    assert number(-0.5) == "−0.5"


def test_shorten_cuts_the_middle_to_the_length_asked_for():
    name = "a" * 100 + " & tone=dark"
    short = shorten(name, 40)
    assert len(short) <= 40
    assert short.startswith("aaa")
    assert short.endswith("tone=dark")
    assert "…" in short


def test_shorten_counts_a_wide_character_as_two():
    assert shorten("ふかいみどりいろのうわぎ", 12) == "ふかい…わぎ"
    assert shorten("うわぎ", 6) == "うわぎ"


def test_shorten_leaves_short_names_alone():
    assert shorten("Ankle boot", 10) == "Ankle boot"


def test_shorten_needs_room():
    with pytest.raises(ValueError, match="at least 3"):
        shorten("Sandal", 2)


def test_clean_text_gives_one_line_that_xml_and_terminals_can_show():
    assert clean_text("a\x00b\n\tc\u202ed\x1b[31m") == "ab cd[31m"
