import json

import pytest
import yaml
from click.testing import CliRunner
from tests.project import SmallProject

from ptq_pipeline.commands.repair import repair


def test_without_a_verdict_there_is_nothing_to_repair_yet(small):
    result = CliRunner().invoke(repair, [])
    assert result.exit_code == 1
    assert "there is no verdict to repair" in result.output
    assert "or search before any audit with --from-scratch" in result.output


def test_an_environment_of_somebody_else_is_refused_before_any_work(small):
    (small / "data/08_reporting").mkdir(parents=True)
    result = CliRunner().invoke(repair, ["--from-scratch", "--name", "local"])
    assert result.exit_code == 1
    assert "--name: 'local' cannot be an environment of its own" in result.output


def call(small, *options):
    done = small.command("repair", "--json", *options)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
def test_a_search_finds_a_recipe_and_its_audit_is_entered_once(project, tmp_path):
    """A recipe of three bits; a method of one's own that cannot work is a row with its error."""
    small = SmallProject(project, tmp_path / "small")
    small.change("quantization", method={"weight_bits": 3})
    # 64 images are fewer than its batch.
    broken = {"name": "adaround_cpu", "weight_bits": 3, "batch_size": 4096}
    small.change("repair", draws=2, recipes={"broken": broken})
    code, found = call(small, "--from-scratch", "--search-only", "--name", "better")
    assert code in (0, 3) and found["helps"] and found["environment"] == "better"
    own = next(row for row in found["recipes"] if row["name"] == "as it is")
    best = found["recipes"][0]
    assert best["limit_share"] < own["limit_share"] and best["draws"] == own["draws"] == 2
    assert "a batch takes 4096 images" in found["recipes"][-1]["error"]
    assert not (small.root / "data/06_models/audit_ledger.jsonl").exists()
    written = yaml.safe_load(
        (small.root / "conf/better/parameters_quantization.yml").read_text(encoding="utf-8")
    )
    assert written == {"quantization": best["changes"]["quantization"]}
    # The same search again reads the trial store and comes to the same; then its winner is audited.
    small.change("worst_case_check", draws=4)
    again = call(small, "--from-scratch", "--name", "better")[1]
    kept = ("recipes", "says", "notes")
    assert {key: again[key] for key in kept} == {key: found[key] for key in kept}
    if again["holds"]:
        assert again["verdict"] in ("FAIL", "INCONCLUSIVE")
        assert (small.root / "data/better/08_reporting/verdict.json").is_file()
        ledger = (small.root / "data/06_models/audit_ledger.jsonl").read_text(encoding="utf-8")
        kinds = [json.loads(line)["kind"] for line in ledger.splitlines()]
        assert sorted(kinds) == ["candidate", "recipe"]
