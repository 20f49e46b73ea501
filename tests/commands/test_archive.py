"""`kedro ptq evidence`: one archive that can be checked without this package."""

import builtins
import hashlib
import json
import shutil
import subprocess
import zipfile

import pytest
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


def frozen(small, **changes):
    result = run("policy", "freeze", "--by", "Jo Doe", "--reason", "agreed")
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_frozen_policy_is_in_the_archive_with_its_date(small):
    """The made-up verdicts have a policy of their own, which the project is given here."""
    decision = decided(small, *candidate("a"))
    verdict = json.loads((small / "data/08_reporting/verdict.json").read_text())
    use_policy(small, verdict["policy"])
    assert frozen(small) == frozen(small), "the same policy is not recorded twice"
    assert run("evidence").exit_code == 0
    files = members(small / "evidence.zip")
    found = json.loads(files["policy_freeze.json"])
    assert found["policy_hash"] == decision.policy_hash == verdict["policy_hash"]
    assert (found["by"], found["reason"], found["record"]) == ("Jo Doe", "agreed", 1)
    assert found["before_outcomes"] is None, "this audit kept no ledger"
    assert "frozen on" in files["README.md"].decode()
    assert json.loads(files["history.json"])[0]["kind"] == "policy"


def use_policy(small, policy):
    path = small / "conf/base/parameters_worst_case_check.yml"
    path.write_text(json.dumps({"worst_case_check": policy}))


def test_an_audit_by_another_policy_than_the_frozen_one_is_no_evidence(small):
    decided(small, *candidate("a"))
    verdict = json.loads((small / "data/08_reporting/verdict.json").read_text())
    use_policy(small, verdict["policy"] | {"p0": 0.25})
    frozen(small)
    result = run("evidence")
    assert result.exit_code == 1 and "is not the one that was frozen on" in result.stderr
    assert not (small / "evidence.zip").exists()


def test_a_frozen_policy_that_was_edited_breaks_the_chain(small):
    decided(small, *candidate("a"))
    verdict = json.loads((small / "data/08_reporting/verdict.json").read_text())
    use_policy(small, verdict["policy"])
    frozen(small)
    (record,) = (small / "data/06_models/registry/log").glob("*.json")
    record.chmod(0o644)
    record.write_text(record.read_text().replace('"p0":', '"p1":'))
    result = run("evidence")
    assert result.exit_code == 1 and "00000001.json' does not match its hash" in result.stderr, (
        result.stderr
    )


def test_who_is_asked_to_approve_is_named_and_markup_is_no_markup(small):
    decided(small, *candidate("a"))
    assert run("evidence", "--approver", "Jo Doe", "--role", "quality").exit_code == 0
    files = members(small / "evidence.zip")
    assert json.loads(files["approval.json"])["approver"] == "Jo Doe"
    assert "| Jo Doe | quality |" in files["README.md"].decode()
    assert list(json.loads(files["robustness.json"])) == ["clean"]
    assert "certify nothing" in files["CROSSWALK.md"].decode()


def test_packages_are_listed_as_cyclonedx_or_the_extra_is_named(small, monkeypatch):
    decided(small, *candidate("a"))
    run("evidence")
    bill = json.loads(members(small / "evidence.zip")["sbom.cdx.json"])
    assert bill["bomFormat"] == "CycloneDX" and "timestamp" not in bill["metadata"]
    purls = {each["purl"] for each in bill["components"]}
    assert any(each.startswith("pkg:pypi/numpy@") for each in purls)
    found = builtins.__import__

    def without(name, *rest):
        if name.startswith("cyclonedx"):
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    result = run("evidence")
    assert result.exit_code == 0 and "ptq-pipeline[sbom]" in result.stderr
    assert "sbom.cdx.json" not in members(small / "evidence.zip")


@pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")
def test_a_signature_holds_and_a_wrong_key_is_one_sentence(small, monkeypatch):
    home = small / "g"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    quiet = ["gpg", "--batch", "--quiet", "--passphrase", ""]
    subprocess.run([*quiet, "--quick-generate-key", "jo@example.org"], check=True)
    decided(small, *candidate("a"))
    assert run("evidence", "--sign", "jo@example.org").exit_code == 0
    files = members(small / "evidence.zip")
    for name in ("MANIFEST.sha256", "MANIFEST.sha256.asc"):
        (small / name).write_bytes(files[name])
    verify = ["gpg", "--quiet", "--verify", "MANIFEST.sha256.asc", "MANIFEST.sha256"]
    assert subprocess.run(verify, cwd=small, capture_output=True, check=False).returncode == 0
    result = run("evidence", "--sign", "nobody@example.org")
    assert result.exit_code == 1 and "nobody@example.org" in result.stderr
    subprocess.run(["gpgconf", "--kill", "all"], check=False)


@pytest.mark.usefixtures("chromium")
def test_the_report_is_printed_and_twice_the_same(small):
    decided(small, *candidate("a"))
    (small / "data/08_reporting/report.html").write_text("<!DOCTYPE html><p>FAIL</p>")
    for name in ("one.zip", "two.zip"):
        assert run("evidence", "-o", name).exit_code == 0
    first, second = (members(small / name)["report.pdf"] for name in ("one.zip", "two.zip"))
    assert first.startswith(b"%PDF") and first == second
    run("evidence", "--no-pdf")
    assert "report.pdf" not in members(small / "evidence.zip")
