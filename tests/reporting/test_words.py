"""Draw, segment and shift are said where they are read, with this audit's figures."""

import pytest
from tests.reporting.conftest import MadeUpAudit, build_inputs

from ptq_pipeline.core.group_ids import SegmentColumn
from ptq_pipeline.reporting.results import ReportingParameters
from ptq_pipeline.reporting.texts import load_texts
from ptq_pipeline.reporting.words import Words


def words_of(audit, language="en"):
    return Words(audit, ReportingParameters(language=language), load_texts(language))


@pytest.mark.parametrize("language", ["en", "ja"])
def test_each_word_has_the_figures_of_the_audit(full, language):
    draw, segment, shift = words_of(full, language).shown
    assert all(value in draw.text for value in ("50", "256", "7,000"))
    assert "dark ≤ 0.2 < " in segment.lines[0]
    assert [each.caption for each in shift.pictures][0] == load_texts(language)("shift.clean_name")
    assert len(shift.pictures) == len(full.shifts)


def test_a_column_that_the_data_brought_has_no_cut(full):
    words = words_of(full)
    assert words._column("store", SegmentColumn(names=("Lyon", "Oslo"))) == (
        "store: as the data say: Lyon, Oslo"
    )
    assert "short ≤ 3 < long" in words._column(
        "length", SegmentColumn(names=("short", "long"), boundaries=(3,))
    )


def test_without_shifts_and_pictures_nothing_is_promised():
    bare = build_inputs(MadeUpAudit(draws=6, comparison_draws=1, shifts=("clean",)))
    assert [word.key for word in words_of(bare).shown] == ["draw", "segment"]
    named = build_inputs(MadeUpAudit(draws=6, comparison_draws=1))
    assert words_of(named).shown[-1].lines == ("gaussian noise", "image size")
