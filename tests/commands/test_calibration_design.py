import json

import pytest
from click.testing import CliRunner
from tests.project import SmallProject

from ptq_pipeline.commands.calibration import design


@pytest.mark.parametrize("sizes", ["", "1,64", "many", "64;128"])
def test_sizes_are_numbers_from_two_on(project, monkeypatch, sizes):
    monkeypatch.chdir(project)
    result = CliRunner().invoke(design, ["--sizes", sizes])
    assert result.exit_code == 1
    assert "--sizes: give whole numbers from 2 on" in result.output


def run_design(small):
    done = small.command(*("calibration", "design", "--sizes", "16", "--draws", "1", "--json"))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_winner_is_confirmed_once_and_stands_in_the_ledger(project, tmp_path):
    small = SmallProject(project, tmp_path / "small")
    code, output = small.run("--pipelines", "data_loading")
    assert code == 0, output
    found = run_design(small)
    assert len(found["designs"]) == 18 and found["opening"] == 1
    assert len(found["random_drops"]) == 32
    better = sum(each <= found["worst_group_drop"] for each in found["random_drops"])
    assert found["p_value"] == pytest.approx((1 + better) / 33)
    assert found["better"] == (found["p_value"] <= found["level"])
    start = "better than random: " if found["better"] else "nothing better than random sets was"
    assert found["says"].startswith(start)
    lines = (small.root / "data/06_models/audit_ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["design"]
    # The same question again finds its entry and the same answer.
    assert run_design(small) == found
    assert (small.root / "data/06_models/audit_ledger.jsonl").read_text().splitlines() == lines
