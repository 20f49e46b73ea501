import json

import pytest
from tests.project import SmallProject


@pytest.mark.slow
def test_outputs_of_a_draw_are_compared_by_class_and_segment(project, tmp_path):
    small = SmallProject(project, tmp_path / "small")
    small.change("calibration", draws=1, comparison_strategies=[])
    code, output = small.run("--pipelines", "data_loading,calibration,quantization")
    assert code == 0, output
    found = small.command("divergence", "--json")
    assert found.returncode == 0, found.stderr
    rows = json.loads(found.stdout)
    # Ten classes and two segments of three values under three shifts.
    assert len(rows) == 3 * (10 + 3 + 3)
    assert rows == sorted(rows, key=lambda row: -row["mean"]) and rows[-1]["mean"] > 0
    unknown = small.command("divergence", "--draw", "9")
    assert unknown.returncode == 1
    assert "--draw 9: the last audit has no finished trial of it; its draws are 0" in unknown.stderr
