import json

import pytest
import yaml
from click.testing import CliRunner
from tests.project import SmallProject

from ptq_pipeline.commands.stages import planned_looks, stages


def test_a_stage_that_does_not_exist_is_an_error_before_any_work(project, monkeypatch):
    monkeypatch.chdir(project)
    result = CliRunner().invoke(stages, ["--stages", "quick,bse"])
    assert result.exit_code == 1
    assert "there is no environment 'bse', no folder conf/bse" in result.output


def test_stages_that_ask_one_recipe_share_its_level(project, monkeypatch):
    monkeypatch.chdir(project)
    # `quick` cannot pass, and `passing` asks another recipe.
    assert planned_looks(["quick", "base", "full"]) == {"quick": 1, "base": 2, "full": 2}
    assert planned_looks(["base", "passing"]) == {"base": 1, "passing": 1}


def run_stages(small, names):
    done = small.command("stages", "--stages", names, "--json")
    assert done.returncode in (0, 3, 4), done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
def test_an_obvious_failure_is_refused_after_five_draws_at_most_and_a_good_one_passes_at_the_preset(
    project, tmp_path
):
    small = SmallProject(project, tmp_path / "small")
    limits = {"points": 25.0, "shifts": {}}
    levels = ("average", "class", "segment", "intersection")
    small.change("worst_case_check", draws=30, limits=dict.fromkeys(levels, limits))
    small.change("calibration", draws=30, comparison_strategies=[], set_size=32)
    small.change("quantization", method={"weight_bits": 2, "activation_bits": 2})
    code, found = run_stages(small, "quick,base")
    assert (code, [each["stage"] for each in found]) == (3, ["quick"])
    assert found[0]["result"] == "FAIL" and found[0]["failed_after_draws"] <= 5
    quick = yaml.safe_load((small.root / "conf/quick/parameters_worst_case_check.yml").read_text())
    assert quick["worst_case_check"]["draws"] == 5
    code, found = run_stages(small, "passing")
    assert (code, found[0]["result"]) == (0, "PASS")
    assert len(found[0]["draws"]) == 30 and found[0]["good"] >= 29
