import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from project import SmallProject  # noqa: E402


def run_divergence(small, *options):
    return subprocess.run(
        [sys.executable, "-m", "kedro", "ptq", "divergence", *options],
        cwd=small.root,
        env=small.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
def test_outputs_of_a_draw_are_compared_by_class_and_segment(project, tmp_path):
    small = SmallProject(project, tmp_path / "small")
    small.change("calibration", draws=1, comparison_strategies=[])
    code, output = small.run("--pipelines", "data_loading,calibration,quantization")
    assert code == 0, output
    found = run_divergence(small, "--json")
    assert found.returncode == 0, found.stderr
    rows = json.loads(found.stdout)
    # Ten classes and two segments of three values under three shifts.
    assert len(rows) == 3 * (10 + 3 + 3)
    assert rows == sorted(rows, key=lambda row: -row["mean"]) and rows[-1]["mean"] > 0
    unknown = run_divergence(small, "--draw", "9")
    assert unknown.returncode == 1
    assert "--draw 9: the last audit has no finished trial of it; its draws are 0" in unknown.stderr
