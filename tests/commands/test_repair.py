import json
import subprocess
import sys
import time

import pytest
import yaml
from click.testing import CliRunner
from tests.project import SmallProject

from ptq_pipeline.commands.repair import _lines, repair
from ptq_pipeline.core.exits import ExitCode
from ptq_pipeline.routines.repair import Repair, TriedRecipe


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


def test_a_winner_that_fails_its_audit_is_refused_and_its_latency_said():
    row = TriedRecipe(name="gptq", draws=8, size=9, limit_share=0.2, changes={})
    found = Repair(
        recipes=(row,), helps=True, holds=True, says="It helps.", environment="repaired",
        verdict="FAIL", headline="FAIL: Shirt loses.", latency_ms=0.3, configured_latency_ms=0.25,
    )  # fmt: skip
    assert found.code is ExitCode.REFUSED
    assert [*_lines(found)][-2:] == [
        "audited: FAIL: Shirt loses.",
        "One image takes 0.30 ms in the winner's file; the configured recipe's takes 0.25.",
    ]
    for verdict, code in (("PASS", ExitCode.DONE), ("INCONCLUSIVE", ExitCode.INCONCLUSIVE)):
        assert found.model_copy(update={"verdict": verdict}).code is code


def kill_after(small, trials, *options):
    """Kill a search once the store holds so many results."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kedro", "ptq", "repair", *options],
        cwd=small.root,
        env=small.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    store = small.root / "data/07_model_output/trials"
    while len([*store.glob("*/*.safetensors")]) < trials:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.kill()
    process.communicate()


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
    search = ("--from-scratch", "--search-only", "--name", "better")
    for trials in (1, 9):
        kill_after(small, trials, *search)
        assert not (small.root / "conf/better").exists()
    code, found = call(small, *search)
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
        entries = [json.loads(line) for line in ledger.splitlines()]
        # Looks at a question are entered beside it.
        kinds = [entry["kind"] for entry in entries if entry.get("look") is None]
        assert kinds == ["recipe"]
