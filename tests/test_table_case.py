"""The case of a table: its figures are those of the page, and the verdicts that it tells."""

import re
from pathlib import Path

import numpy as np
import pytest
from table_case import answers, rounded

from ptq_pipeline import check

PAGE = Path(__file__).parents[1] / "docs/cases/tumours.md"
LIMITS = {"average": 3, "class": 5, "segment": 5}


@pytest.mark.parametrize(("bits", "result"), [(2, "INCONCLUSIVE"), (4, "PASS")])
def test_the_page_says_what_the_commands_find(bits, result):
    table = answers(bits)
    row = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {bits} bits"))
    right = {name: table[f"{name}_answer"] == table["label"] for name in ("float", "quantized")}
    malignant = table["label"] == "malignant"
    for where, said in zip(
        (malignant | True, malignant), re.findall(r"loses ([\d.]+)", row), strict=False
    ):
        drop = right["float"][where].mean() - right["quantized"][where].mean()
        assert f"{100 * drop:.1f}" == said
    verdict = check(
        table["label"],
        table["float_answer"],
        table["quantized_answer"],
        groups={"size": table["size"]},
        limits=LIMITS,
    )
    assert verdict.result == result and f"**{result}**" in row


def test_rounding_keeps_the_ends_and_cuts_off_what_is_beyond():
    values = np.array([-9.0, -1.0, 0.2, 1.0, 9.0])
    found = rounded(values, np.float64(-1), np.float64(1), 2)
    assert found == pytest.approx([-1, -1, 1 / 3, 1, 1])
