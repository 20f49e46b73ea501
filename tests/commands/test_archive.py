"""`kedro ptq evidence`: one archive that can be checked without this package."""

import hashlib
import json
import zipfile

from tests.commands.test_registry import decided, run
from tests.registry.conftest import REASON, candidate


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_archive_holds_the_decision_and_what_it_rests_on_with_hashes(small):
    decision = decided(small, *candidate("a", "FAIL", reasons=[REASON]))
    result = run("evidence", "-o", "first.zip")
    assert result.exit_code == 0, result.output
    files = members(small / "first.zip")
    assert json.loads(files["decision.json"])["decision_hash"] == decision.hash
    for name in ("verdict.json", "candidate_execution.json", "champion_comparison.json"):
        on_disk = json.loads((small / "data/08_reporting" / name).read_text())
        assert json.loads(files[name]) == on_disk
    listed = dict(
        reversed(line.split("  ", 1)) for line in files["MANIFEST.sha256"].decode().splitlines()
    )
    assert set(listed) == set(files) - {"MANIFEST.sha256"}
    for name, digest in listed.items():
        assert hashlib.sha256(files[name]).hexdigest() == digest
    assert "certifies nothing" in files["README.md"].decode()
    run("evidence", "-o", "second.zip")
    assert (small / "second.zip").read_bytes() == (small / "first.zip").read_bytes()


def test_without_a_decision_there_is_no_archive(small):
    result = run("evidence")
    assert result.exit_code == 1
    assert "decision" in result.stderr and "Traceback" not in result.stderr
    assert not (small / "evidence.zip").exists()


def test_an_edited_verdict_is_no_evidence(small):
    decided(small, *candidate("a"))
    path = small / "data/08_reporting/verdict.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"headline": "PASS: all fine"}))
    result = run("evidence")
    assert result.exit_code == 1 and "verdict.json" in result.stderr
    assert not (small / "evidence.zip").exists()
