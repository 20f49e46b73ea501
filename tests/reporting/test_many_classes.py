"""Several thousand classes: the check ends, and the report stays small and readable."""

import time
from xml.etree import ElementTree

import pytest
from tests.reporting.conftest import MadeUpAudit, build_inputs, complete

from ptq_pipeline.reporting.page import render_report

NAMESPACE = "{http://www.w3.org/1999/xhtml}"
CLASSES = tuple(f"species {number:04d}" for number in range(3000))


@pytest.mark.slow
def test_three_thousand_classes_are_judged_and_shown(options):
    started = time.process_time()
    audit = MadeUpAudit(
        classes=CLASSES, draws=30, comparison_draws=1, audit_images=900_000, intersections=False
    )
    inputs = complete(build_inputs(audit), {"error_cost": {}})
    html = render_report(inputs, options)
    # Seconds of the processor; about 30 on the machine of the other figures.
    assert time.process_time() - started < 120
    assert len(html.encode()) < 3_000_000
    verdict = inputs.verdict
    assert sum(c.level == "class" and c.judged for c in verdict.candidate.cells) == 9000
    tree = ElementTree.fromstring(html)
    long = 0
    for place in tree.iter(f"{NAMESPACE}section"):
        words = " ".join(place.itertext())
        for table in place.iter(f"{NAMESPACE}table"):
            rows = list(table.find(f"{NAMESPACE}tbody"))
            assert len(rows) <= options.max_rows
            if len(rows) == options.max_rows:
                assert "more rows are left out here" in words
                long += 1
    assert long >= 4, "all groups, parity, the champion and the business are cut"
    worst = verdict.worst.group
    (section,) = [s for s in tree.iter(f"{NAMESPACE}section") if s.get("id") == "worst"]
    for table in section.iter(f"{NAMESPACE}table"):
        assert worst in " ".join(table.itertext()), "whatever is cut, the worst class is shown"
