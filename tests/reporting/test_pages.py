"""Pages beside the report: two audits, versions over time."""

import xml.etree.ElementTree as ET

import pytest
from tests.reporting.conftest import MadeUpAudit, build_inputs

from ptq_pipeline.reporting.pages import NamedAudit, Version, side_by_side, versions_page

HTML = "{http://www.w3.org/1999/xhtml}"


@pytest.fixture(scope="module")
def audits():
    worse = build_inputs(MadeUpAudit(draws=6, comparison_draws=1))
    better = build_inputs(MadeUpAudit(draws=6, comparison_draws=1, severity=0.2))
    return [
        NamedAudit(name, each.verdict, str(each.decision.outcome))
        for name, each in (("v0001", worse), ("<here>", better))
    ]


def tables(html):
    root = ET.fromstring(html.partition("\n")[2])
    return [
        [[" ".join("".join(cell.itertext()).split()) for cell in row] for row in body]
        for body in root.iter(f"{HTML}tbody")
    ]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_group_of_both_audits_is_there_and_changes_come_first(audits, language):
    before, now = audits
    html = side_by_side(before, now, [("parameter bits", 4, 8)], language)
    short, groups, settings = tables(html)
    assert [row[0] for row in short] == ["v0001", "<here>"]
    assert len(groups) == len(now.verdict.candidate.cells)
    differ = [row[6] != row[7] for row in groups]
    assert differ == sorted(differ, reverse=True) and any(differ) and not all(differ)
    assert settings == [["parameter bits", "4", "8"]]
    assert "<here>" not in html


def test_a_change_is_the_right_minus_the_left(audits):
    before, now = audits
    cell = {c.key: c for c in before.verdict.candidate.cells}
    shown = {tuple(row[:2]): row[5] for row in tables(side_by_side(before, now, []))[1]}
    for one in now.verdict.candidate.cells:
        group = "all images" if one.level == "average" else one.group
        found = float(shown[group, one.shift.replace("_", " ")].replace("\u2212", "-"))
        assert found == pytest.approx(100 * (one.drop - cell[one.key].drop), abs=0.006)


def record(number, kind="promotion", **content):
    time = "2026-11-26T04:10:00+00:00"
    return {"sequence": number, "time": time, "kind": kind, "content": content}


@pytest.mark.parametrize("language", ["en", "ja"])
def test_versions_stand_beside_their_limits_and_a_lost_one_is_named(audits, language):
    versions = [
        Version(record(1, version="v0001", by="Kim"), "W4A8 nearest; more", audits[0].verdict),
        Version(record(2, version="v0002"), "", None),
    ]
    back = record(3, "rollback", version="v0001", reason="<complaints>")
    html = versions_page(versions, [back], language)
    promoted, others = tables(html)
    worst = audits[0].verdict.worst
    assert promoted[0][3] == "W4A8 nearest"
    assert promoted[0][5] == f"{100 * worst.own_drop:.2f}"
    assert (promoted[1][0], promoted[1][4:]) == ("v0002", ["–", "–", "–"])
    assert others[0][0] == "3" and "<complaints>" not in html and "<svg" in html


def test_before_the_first_promotion_there_is_a_page_too():
    assert "<table" not in versions_page([], [])
