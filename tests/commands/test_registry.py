"""The registry's commands in a small Kedro project whose decision was made by hand."""

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from click.testing import CliRunner
from tests.registry.conftest import REASON, against, candidate

from ptq_pipeline.commands import ptq
from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.group_ids import CellKey
from ptq_pipeline.core.names import VERDICT_FILE
from ptq_pipeline.judgement.baseline import Baseline
from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.judgement.worst_bound import WorstGroup
from ptq_pipeline.project import opened
from ptq_pipeline.registry.evidence import COMPARISON_FILE, EXECUTION_FILE, Evidence
from ptq_pipeline.registry.release import note

SANDAL = CellKey("class", "Sandal", "clean")
WORST = WorstGroup(
    shift=None,
    confidence=0.95,
    drop=0.0413,
    drop_cell=SANDAL,
    accuracy=0.91,
    accuracy_cell=SANDAL,
)
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()


def decided(root, decision, files, data="data"):
    """Write a decision and its candidate where the promotion pipeline would."""
    folder = root / data / "06_models/candidate"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    index = {"files": dict(decision.candidate.files)}
    (folder / "candidate.json").write_text(json.dumps(index))
    (root / data / "08_reporting").mkdir(parents=True, exist_ok=True)
    reports = root / data / "08_reporting"
    (reports / "decision.json").write_text(json.dumps(decision.to_json()))
    for name in (VERDICT_FILE, COMPARISON_FILE, EXECUTION_FILE):
        (reports / name).write_bytes(files[name])
    return decision


def run(*arguments):
    return CliRunner().invoke(ptq, list(arguments))


def run_json(*arguments):
    result = run(*arguments, "--json")
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.parametrize(("result", "code"), [("PASS", 0), ("FAIL", 3), ("INCONCLUSIVE", 4)])
def test_the_gate_answers_by_its_exit_code(small, result, code):
    decision = decided(small, *candidate("a", result, reasons=[REASON] if code else []))
    assert run("gate").exit_code == code
    found, content = run_json("gate")
    assert (found, content["exit_code"], content["decision_hash"]) == (code, code, decision.hash)


def test_an_open_gate_names_what_ships_without_having_been_judged(small):
    line = "Not judged: class crane (3 images, needs 42; policy allows it)."
    decided(small, *candidate("a", not_judged=line))
    result = run("gate")
    assert (result.exit_code, result.stdout.splitlines()[-1].strip()) == (0, line)
    assert run_json("gate")[1]["not_judged"] == line


def test_the_gate_states_what_the_worst_group_loses_at_most(small):
    decided(small, *candidate("a", worst_groups=[WORST]))
    line = "With 95 % confidence the candidate loses no more than 4.13 points"
    assert line in run("gate").stdout
    (found,) = run_json("gate")[1]["worst_groups"]
    assert (found["drop"], found["drop_cell"][1]) == (0.0413, "Sandal")


def test_the_gate_before_an_audit_says_what_is_missing(small):
    result = run("gate")
    assert result.exit_code == 1
    assert "'decision' does not exist yet" in result.stderr


def test_an_edited_decision_is_an_error(small):
    decided(small, *candidate("a"))
    path = small / "data/08_reporting/decision.json"
    path.write_text(path.read_text().replace('"promote"', '"refuse"'))
    assert run("gate").exit_code == 1
    assert run("promote").exit_code == 1
    assert run_json("status")[1]["champion"] is None


def test_promote_rollback_history_status_and_verify(small):
    first = decided(small, *candidate("a"))
    assert run_json("status")[1]["champion"] is None
    assert run("promote", "--by", "Kim").stdout == "champion: v0001 (before: none)\n"
    assert run("promote").exit_code == 0
    decided(small, *candidate("b", champion=against(first)))
    code, record = run_json("promote", "--by", "Kim", "--trigger", "drift")
    assert (code, record["content"]["version"], record["content"]["trigger"]) == (
        0,
        "v0002",
        "drift",
    )
    assert {"python", "cpu_flags", "versions", "git"} <= set(record["content"]["machine"])
    unnamed = run("rollback")
    assert unnamed.exit_code == 1 and "`kedro ptq rollback --to v0001`" in unnamed.stderr
    back = ("rollback", "--to", "v0001", "--reason", "complaints")
    assert run(*back).stdout == run(*back).stdout == "champion: v0001 (before: v0002)\n"
    code, status = run_json("status")
    assert (code, status["champion"]) == (0, "v0001")
    assert run("recover").stdout == "nothing to recover: log and registry agree\n"
    kinds = [record["kind"] for record in run_json("history")[1]]
    assert kinds == ["promotion", "promotion", "rollback"]
    assert run("verify").stdout == "every hash holds: v0001, v0002\n"
    assert json.loads((small / "data/06_models/champion_baseline.json").read_text())["version"] == (
        "v0001"
    )


def test_the_pipeline_releases_as_promote_does(small):
    decided(small, *candidate("a"))
    command = [sys.executable, "-m", "kedro", "run", "--pipelines", "release"]
    done = subprocess.run(command, cwd=small, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert run_json("status")[1]["champion"] == "v0001"
    assert json.loads((small / "data/08_reporting/release.json").read_text())["kind"] == "promotion"


def test_a_stale_decision_is_refused(small):
    decided(small, *candidate("a"))
    assert run("promote").exit_code == 0
    decided(small, *candidate("b"))
    result = run("promote")
    assert result.exit_code == 3
    assert "the champion is now v0001" in result.stderr
    assert run_json("promote")[0] == 3


def test_verify_exits_with_5_and_names_the_file(small):
    decided(small, *candidate("a"))
    run("promote")
    path = small / "data/06_models/registry/versions/v0001/model.bin"
    path.write_bytes(b"x")
    assert run("verify", "v0001").exit_code == 5
    code, content = run_json("verify")
    assert code == 5 and "model.bin" in content["error"]
    assert run("rollback", "--to", "v0001").exit_code == 1
    assert run_json("status")[1]["champion"] == "v0001"


def test_a_damaged_log_does_not_hide_what_serves(small):
    decided(small, *candidate("a"))
    run("promote")
    path = small / "data/06_models/registry/log/00000001.json"
    path.write_text(path.read_text()[:100])
    result = run("status")
    assert (result.exit_code, result.stdout) == (5, "champion: v0001\n")
    assert str(path) in result.stderr and "restore it from a backup" in result.stderr
    assert run_json("status")[1]["champion"] == "v0001"
    for command in (("promote",), ("gate",), ("history",), ("rollback",)):
        result = run(*command)
        assert result.exit_code == 1 and str(path) in result.stderr


def test_a_missing_artifact_is_said_by_status(small):
    decided(small, *candidate("a"))
    run("promote")
    path = small / "data/06_models/registry/versions/v0001/model.bin"
    path.unlink()
    assert f"missing: {path}" in run("status").stdout
    assert run_json("status")[1]["missing"] == [str(path)]


def test_a_truncated_decision_names_its_file(small):
    decided(small, *candidate("a"))
    path = small / "data/08_reporting/decision.json"
    path.write_text("{")
    for command in ("gate", "promote"):
        result = run(command)
        assert result.exit_code == 1
        assert str(path) in result.stderr and "run the pipeline that wrote it" in result.stderr


def test_status_says_that_retraining_is_needed_until_another_version_serves(small):
    first = decided(small, *candidate("a"))
    run("promote")
    content = {"outcome": "retraining needed", "serve": "float", "trigger": "ladder"}
    with opened() as project:
        note(project.load("registry"), content, datetime.now(UTC))
    assert "retraining needed since" in run("status").stdout
    assert "until then serve: float" in run("status").stdout
    assert run_json("status")[1]["unsolved"]["record"] == 2
    decided(small, *candidate("b", champion=against(first)))
    run("promote")
    assert run_json("status")[1]["unsolved"] is None


def test_a_waiver_opens_the_gate_and_stands_in_the_record(small):
    decided(small, *candidate("a", "FAIL", reasons=[REASON]))
    arguments = ["candidate.limit", "--reason", "agreed", "--expires", TOMORROW, "--by", "Kim"]
    assert run("gate").exit_code == 3
    assert run("promote").exit_code == 3
    assert run("waive", *arguments).exit_code == 0
    code, content = run_json("gate")
    assert code == 0 and content["waivers"][0]["by"] == "Kim"
    assert run_json("promote")[1]["content"]["waivers"][0]["rule"] == "candidate.limit"
    assert run("waive", "x", "--reason", "r").exit_code == 2
    assert run("waive", "x", "--reason", "r", "--expires", "soon").exit_code == 1


def test_a_waiver_must_excuse_a_reason_of_the_last_decision(small):
    decided(small, *candidate("a", "FAIL", reasons=[REASON]))
    rest = ["--reason", "agreed", "--expires", TOMORROW]
    for given, sentence in (
        (["candidate.limt"], "has the rule 'candidate.limt'; its rules are candidate.limit"),
        (["candidate.limit", "--group", "Sandle"], "is about group 'Sandle' under shift 'any'"),
        (["candidate.limit", "--shift", "fog"], "is about group 'any' under shift 'fog'"),
    ):
        result = run("waive", *given, *rest)
        assert result.exit_code == 1
        assert sentence in result.stderr
    assert run_json("status")[1]["waivers"] == []


def test_a_waiver_can_be_withdrawn_and_the_log_keeps_both(small):
    decided(small, *candidate("a", "FAIL", reasons=[REASON]))
    run("waive", "candidate.limit", "--reason", "agreed", "--expires", TOMORROW)
    record = run_json("status")[1]["waivers"][0]["record"]
    assert f"record {record}" in run("status").stdout
    assert run("gate").exit_code == 0
    assert run("withdraw", str(record), "--reason", "no longer").exit_code == 0
    assert run("gate").exit_code == 3
    again = run("withdraw", str(record), "--reason", "no longer")
    assert again.exit_code == 1 and "is no waiver in force; those in force are none" in again.stderr
    kinds = [each["kind"] for each in run_json("history")[1]]
    assert kinds[-2:] == ["waiver", "withdrawal"]
    assert run("verify").exit_code == 0


def test_decisions_of_other_environments_are_refused_unless_allowed(small):
    decided(small, *candidate("a", environment="passing"), data="data/passing")
    assert run("gate", "--env", "passing").exit_code == 0
    result = run("promote", "--env", "passing")
    assert result.exit_code == 3 and "environment 'passing'" in result.stderr
    (small / "conf/local/parameters.yml").write_text("{}")
    path = small / "conf/base/parameters_release.yml"
    path.write_text(path.read_text().replace("[base]", "[base, passing]"))
    assert run("promote", "--env", "passing").exit_code == 0


def test_an_obligation_needs_an_acknowledgement(small):
    owed = {"to": "ACME", "level": "class", "group": "Sandal", "contract_floor": 90.0}
    decided(small, *candidate("a", obligations=[owed], accuracy=0.88))
    name = "ACME: contract_floor class Sandal clean"
    text = f"{name} = 88.0 %"
    assert f"To acknowledge: --acknowledge '{text}'" in run("gate").stdout
    (found,) = run_json("gate")[1]["obligations"]
    assert (found["name"], found["acknowledge"]) == (name, text)
    for noted in ((), ("--acknowledge", name), ("--acknowledge", f"{name} = 89 %")):
        result = run("promote", *noted)
        assert result.exit_code == 3
        assert f"--acknowledge '{text}'" in result.stderr
    code, record = run_json("promote", "--acknowledge", text)
    assert (code, record["content"]["acknowledged"]) == (0, [text])


def test_a_mount_has_entries_of_its_own(small):
    files = {
        "decision": ("decision.Decision", "decision.json"),
        "verdict": ("verdict.Verdict", "verdict.json"),
        "champion_comparison": ("champion.Comparison", COMPARISON_FILE),
        "candidate_execution": ("decision.Execution", EXECUTION_FILE),
    }
    entries = {
        f"shop.{name}": {
            "type": "ptq_pipeline.datasets.DocumentDataset",
            "document": f"ptq_pipeline.judgement.{kind}",
            "filepath": f"data/shop/08_reporting/{path}",
        }
        for name, (kind, path) in files.items()
    }
    others = {"CandidateDirectory": "06_models/candidate", "RegistryDataset": "registry"}
    for name, (kind, path) in zip(("candidate_model", "registry"), others.items(), strict=True):
        entries[f"shop.{name}"] = {
            "type": f"ptq_pipeline.datasets.{kind}",
            "filepath": f"data/shop/{path}",
        }
    entries["shop.registry"]["baseline"] = "data/shop/champion_baseline.json"
    (small / "conf/base/catalog_shop.yml").write_text(json.dumps(entries))
    decided(small, *candidate("a"), data="data/shop")
    assert run("gate", "--mount", "shop").exit_code == 0
    assert run("gate").exit_code == 1
    result = run("gate", "--mount", "other")
    assert result.exit_code == 1 and "no entry 'other.decision'" in result.stderr
    # As a catalog of an earlier release has it.
    entries["shop.decision"] = {
        "type": "json.JSONDataset",
        "filepath": "data/shop/08_reporting/decision.json",
    }
    (small / "conf/base/catalog_shop.yml").write_text(json.dumps(entries))
    result = run("gate", "--mount", "shop")
    assert result.exit_code == 1
    assert "'shop.decision' is no document: write `type: ptq_pipeline.datasets." in result.stderr


BESIDE = ["verdict.json", "champion_comparison.json", "candidate_execution.json"]


@pytest.mark.parametrize("name", BESIDE)
def test_a_decision_without_what_it_rests_on_is_no_decision(small, name):
    decided(small, *candidate("a"))
    path = small / "data/08_reporting" / name
    content = json.loads(path.read_text())
    path.unlink()
    for command in ("gate", "promote"):
        result = run(command)
        assert result.exit_code == 1
        assert name in result.stderr and "`dvc pull`" in result.stderr
    path.write_text(json.dumps(content | {"reasons": [REASON.to_json()]}))
    for command in ("gate", "promote"):
        result = run(command)
        assert result.exit_code == 1
        assert f"'{name}' is not the one that the decision rests on" in result.stderr
    assert not (small / "data/06_models/registry/log").exists()


def test_a_decision_that_was_edited_with_a_hash_that_fits_follows_from_nothing(small):
    decision, files = candidate("a", "FAIL", reasons=[REASON])
    content = decision.to_json() | {"decision": "promote", "verdict": "PASS", "reasons": []}
    content.pop("decision_hash")
    path = decided(small, decision, files) and small / "data/08_reporting/decision.json"
    path.write_text(json.dumps(content | {"decision_hash": canonical_hash(content)}))
    assert Decision.read(json.loads(path.read_text())).outcome == "promote"
    for command in ("gate", "promote"):
        result = run(command)
        assert result.exit_code == 1
        assert "does not follow from its verdict, comparison and execution" in result.stderr


@pytest.mark.parametrize("reindexed", [False, True])
def test_a_flipped_bit_in_the_candidate_closes_the_gate(small, reindexed):
    decided(small, *candidate("a"))
    folder = small / "data/06_models/candidate"
    content = bytearray((folder / "model.bin").read_bytes())
    content[7] ^= 1
    (folder / "model.bin").write_bytes(content)
    if reindexed:
        index = json.loads((folder / "candidate.json").read_text())
        index["files"]["model.bin"] = sha256(content).hexdigest()
        (folder / "candidate.json").write_text(json.dumps(index))
    for command in ("gate", "promote"):
        result = run(command)
        assert result.exit_code == 1 and "'model.bin'" in result.stderr


def test_verify_holds_the_last_audit_by_what_is_here_of_it(small):
    decided(small, *candidate("a"))
    reports = small / "data/08_reporting"
    assert run_json("verify") == (0, {"ok": True, "versions": [], "notes": []})
    # What git keeps: verdict and decision.
    shutil.rmtree(small / "data/06_models/candidate")
    for name in BESIDE[1:]:
        (reports / name).unlink()
    code, found = run_json("verify")
    assert code == 0 and "candidate_execution.json" in found["notes"][0]
    verdict = json.loads((reports / "verdict.json").read_text())
    opening = {"subject": "recipe", "index": 1, "entry": "0" * 64, "alpha": 0.05}
    named = {"ledger": {"rule": "warn", "openings": [opening], "statement": ""}}
    (reports / "verdict.json").write_text(json.dumps(verdict | named))
    assert "lacks entry 0000" in run_json("verify")[1]["error"]
    (reports / "verdict.json").write_text(json.dumps(verdict | {"result": "FAIL"}))
    code, found = run_json("verify")
    assert code == 5 and "'verdict.json' is not the one" in found["error"]
    (reports / "verdict.json").unlink()
    assert run("verify").exit_code == 5


def test_other_answers_in_the_next_baseline_are_no_part_of_the_comparison(small):
    decision, files = candidate("a")
    other = Baseline.read(json.loads(files["baseline.json"]))
    other.answers["clean"][:] = 255
    forged = {**files, "baseline.json": json.dumps(other.to_json()).encode()}
    evidence = Evidence.of_files(forged)
    decided(small, evidence.decide("base"), forged)
    result = run("promote")
    assert result.exit_code == 1
    assert "does not hold the answers that were compared" in result.stderr


def test_outside_a_project_there_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("status")
    assert result.exit_code == 1
    assert "is not inside a Kedro project" in result.stderr


def test_an_mlflow_server_that_is_away_holds_up_no_promotion(small, caplog):
    conf = small / "conf/local/parameters_mlflow.yml"
    conf.parent.mkdir(exist_ok=True)
    conf.write_text("mlflow: {tracking_uri: 'http://kim:secret@127.0.0.1:9'}\n")
    decided(small, *candidate("a"))
    ended = run("promote", "--by", "Kim")
    assert (ended.exit_code, ended.stdout) == (0, "champion: v0001 (before: none)\n")
    assert "the registry was not sent" in caplog.text and "secret" not in caplog.text
    (small / "data/08_reporting/metrics.json").write_text("{}")
    sent = run("mlflow")
    assert sent.exit_code == 1 and sent.stderr.count("error:") == 1
    assert "secret" not in sent.stderr and sent.stdout == ""


def test_history_is_also_a_page_and_two_audits_stand_side_by_side(small):
    decided(small, *candidate("a"))
    run("promote", "--by", "Kim")
    result = run("history", "--html", "history.html")
    assert (result.exit_code, "v0001" in (small / "history.html").read_text()) == (0, True)
    compared = run("compare-audits", "v0001", ".", "-o", "audits.html")
    assert compared.stdout == "audits.html: identical\n", compared.stderr
    page = (small / "audits.html").read_text()
    assert "v0001" in page and "the working tree" in page
    folder = run("compare-audits", "data/08_reporting", "--language", "ja")
    assert folder.exit_code == 0, folder.stderr
    assert "二つの監査" in (small / "audits.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("data",), "holds no verdict.json"),
        (("v0009",), "version v0009 cannot be read"),
        (("HEAD",), "git"),
        (("data/08_reporting", "--language", "xx"), "no texts for the language 'xx'"),
    ],
)
def test_an_audit_that_is_not_there_is_one_sentence(small, arguments, said):
    decided(small, *candidate("a"))
    result = run("compare-audits", *arguments)
    assert result.exit_code == 1 and said in result.stderr and "Traceback" not in result.stderr


def test_an_audit_of_an_older_schema_is_one_sentence(small):
    decided(small, *candidate("a"))
    path = small / "data/08_reporting/verdict.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 0}))
    (small / "old").mkdir()
    for name in ("verdict.json", "decision.json"):
        shutil.copy(small / "data/08_reporting" / name, small / "old")
    result = run("compare-audits", "old", "old")
    assert result.exit_code == 1 and "schema_version" in result.stderr, result.stderr
