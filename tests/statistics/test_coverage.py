"""The short form of `make coverage-study`."""

import pytest
from bound_simulation import run, table

SHORT = 300


@pytest.fixture(scope="module")
def findings():
    return run(SHORT)


def test_errors_keep_their_levels_and_intervals_their_coverage(findings):
    assert [each.what for each in findings if not each.holds] == []


def test_bounds_can_be_met(findings):
    power = {each.what: each.rate for each in findings if each.kind == "power"}
    assert power["group of 800, 1 % of answers changed, no drop: shown to keep 4 points"] > 0.99
    assert power["200 clusters of 4, 0.5 % lost: shown good"] > 0.6
    assert power["60 % bad draws: FAIL within 50 draws"] > 0.99


def test_ignoring_clusters_would_be_wrong(findings):
    naive = [
        each.rate
        for each in findings
        if "200 clusters of 4" in each.what and "ignores" in each.what
    ]
    assert naive[0] > 0.1


def test_table_has_a_line_for_every_finding(findings):
    assert len(table(findings)) == len(findings) + 2
