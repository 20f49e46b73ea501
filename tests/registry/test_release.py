import json
import threading
from datetime import timedelta

import pytest
from tests.registry.conftest import NOW, REASON, against, candidate, release, terms

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.baseline import Baseline
from ptq_pipeline.registry.records import Kind, RegistryError
from ptq_pipeline.registry.release import (
    ChampionChangedError,
    ReleaseRefusedError,
    excused,
    note,
    rollback,
    waive,
)
from ptq_pipeline.registry.waivers import Waiver


def baseline_of(registry):
    return Baseline.read(json.loads(registry.baseline.read_text()))


def test_nothing_serves_before_the_first_promotion(registry):
    assert registry.champion() is None
    assert not baseline_of(registry).serves
    assert registry.verify() == []


def test_a_promoted_candidate_serves_with_all_its_files(registry):
    decision, files = candidate("a")
    record = release(registry, decision, files, terms())
    champion = registry.champion()
    assert (champion.version, champion.record_hash) == ("v0001", record.hash)
    for name, content in files.items():
        assert (champion.folder / name).read_bytes() == content
    assert baseline_of(registry).version == "v0001"
    assert baseline_of(registry).decision_hash == decision.hash
    assert list(baseline_of(registry).answers["clean"]) == [0, 1, 2, 2]
    assert registry.verify() == ["v0001"]


def test_a_record_holds_what_a_reviewer_needs(registry):
    decision, files = candidate("a")
    content = release(registry, decision, files, terms(trigger="drift")).content
    assert set(content["hashes"]) == {
        "float_model", "artifact", "recipe", "policy", "evaluation", "calibration_set",
    }  # fmt: skip
    assert content["trigger"] == "drift"
    assert content["runtime"] == {"name": "x"}
    assert content["machine"] == {"python": "3.11"}
    assert content["waivers"] == []
    assert content["files"] == dict(decision.candidate.files)


def test_the_same_decision_again_changes_nothing(registry):
    decision, files = candidate("a")
    first = release(registry, decision, files, terms())
    assert release(registry, decision, files, terms(now=NOW + timedelta(days=1))) == first
    assert len(registry.log.read()) == 1


def test_a_decision_against_another_champion_is_refused(registry):
    first = candidate("a")
    release(registry, *first, terms())
    with pytest.raises(ChampionChangedError, match="compares with no champion.*now v0001"):
        release(registry, *candidate("b"), terms())
    release(registry, *candidate("b", champion=against(first[0])), terms())
    assert registry.champion().version == "v0002"
    with pytest.raises(ReleaseRefusedError, match="was released on .* rollback --to v0001"):
        release(registry, *first, terms())


@pytest.mark.parametrize("result", ["FAIL", "INCONCLUSIVE"])
def test_what_did_not_pass_is_refused(registry, result):
    with pytest.raises(ReleaseRefusedError, match="Sandal is open"):
        release(registry, *candidate("a", result, reasons=[REASON]), terms())
    assert registry.champion() is None


def test_files_that_are_not_those_of_the_decision_are_refused(registry):
    decision, files = candidate("a")
    for changed in ({**files, "model.bin": b"x"}, {**files, "extra": b""}, {"verdict.json": b"{}"}):
        with pytest.raises(InputError, match="candidate file"):
            release(registry, decision, changed, terms())


def test_other_environments_need_permission(registry):
    decision, files = candidate("a", environment="passing")
    with pytest.raises(ReleaseRefusedError, match="environment 'passing'.*allowed_environments"):
        release(registry, decision, files, terms())
    release(registry, decision, files, terms(allowed_environments=["passing"]))


def test_a_touched_obligation_must_be_acknowledged(registry):
    owed = [{"to": "ACME", "level": "class", "group": "Sandal", "contract_floor": 95.0}]
    given = candidate("a", obligations=owed, accuracy=0.93)
    text = "ACME: contract_floor class Sandal clean = 93.0 %"
    with pytest.raises(ReleaseRefusedError, match=f"--acknowledge '{text}'"):
        release(registry, *given, terms())
    record = release(registry, *given, terms(acknowledged=[text, "another"]))
    assert record.content["acknowledged"] == [text]
    large = candidate("b", champion=against(given[0]), obligations=owed, accuracy=0.87)
    with pytest.raises(ReleaseRefusedError, match="= 87.0 %"):
        release(registry, *large, terms(acknowledged=[text]))
    assert registry.champion().version == "v0001"


def waiver(**changes):
    return Waiver.granted(
        **{
            "rule": "candidate.limit",
            "reason": "one customer agreed",
            "expires": "2026-12-31",
            "by": "Kim",
            **changes,
        }
    )


def test_a_waiver_lets_its_rule_pass_until_it_expires(registry):
    given = candidate("a", "INCONCLUSIVE", reasons=[REASON])
    waive(registry, waiver(), NOW)
    assert excused(registry, given[0], NOW) == (True, [waiver()])
    record = release(registry, *given, terms())
    assert record.content["waivers"] == [waiver().to_json()]
    later = NOW + timedelta(days=60)
    assert excused(registry, given[0], later) == (False, [])
    second = candidate("b", "FAIL", against(given[0]), reasons=[REASON])
    with pytest.raises(ReleaseRefusedError):
        release(registry, *second, terms(now=later))


@pytest.mark.parametrize("change", [{"rule": "recipe.bad_draws"}, {"group": "Bag"}, {"shift": "x"}])
def test_a_waiver_of_something_else_does_not_help(registry, change):
    waive(registry, waiver(**change), NOW)
    with pytest.raises(ReleaseRefusedError):
        release(registry, *candidate("a", "FAIL", reasons=[REASON]), terms())


def test_an_expired_waiver_is_not_even_recorded(registry):
    with pytest.raises(RegistryError, match="expired on 2026-01-01"):
        waive(registry, waiver(expires="2026-01-01"), NOW)


def test_a_clock_that_goes_backwards_revives_no_waiver(registry):
    given = candidate("a", "FAIL", reasons=[REASON])
    waive(registry, waiver(), NOW)
    later = NOW + timedelta(days=90)
    assert excused(registry, given[0], later) == (False, [])
    # Nobody but the gate has looked, and the clock goes back.
    assert excused(registry, given[0], NOW) == (False, [])
    with pytest.raises(ReleaseRefusedError):
        release(registry, *given, terms())
    kinds = [record.kind for record in registry.records()]
    assert kinds == [Kind.WAIVER, Kind.EXPIRY], "the end is recorded once"
    record = release(registry, *candidate("b"), terms())
    assert (record.time, record.content["clock"]) == (
        later.isoformat(timespec="seconds"),
        NOW.isoformat(timespec="seconds"),
    )
    assert registry.verify() == ["v0001"]


def test_a_clock_that_ran_ahead_once_ends_no_waiver_that_is_granted_afterwards(registry):
    note(registry, {"outcome": "retraining needed"}, NOW + timedelta(days=60_000))
    given = candidate("a", "FAIL", reasons=[REASON])
    record = waive(registry, waiver(), NOW)
    assert record.time.startswith("2191-") and record.content["clock"].startswith("2026-11-26")
    assert excused(registry, given[0], NOW) == (True, [waiver()])
    release(registry, *given, terms())
    assert excused(registry, given[0], NOW + timedelta(days=90)) == (False, [])


def test_the_gate_of_a_registry_that_cannot_be_written_counts_all_the_same(registry, monkeypatch):
    waive(registry, waiver(), NOW)
    given = candidate("a", "FAIL", reasons=[REASON])[0]

    def read_only(*arguments):
        raise PermissionError("read only")

    monkeypatch.setattr("ptq_pipeline.registry.store.write_file", read_only)
    assert excused(registry, given, NOW) == (True, [waiver()])
    assert excused(registry, given, NOW + timedelta(days=90)) == (False, [])


def test_rollback_brings_back_what_served_before(registry):
    first = candidate("a")
    release(registry, *first, terms())
    release(registry, *candidate("b", champion=against(first[0])), terms())
    record = rollback(registry, "v0001", by="Kim", now=NOW, reason="complaints")
    assert (record.kind, record.champion) == (Kind.ROLLBACK, "v0001")
    assert registry.champion().version == "v0001"
    assert baseline_of(registry).version == "v0001"
    assert registry.verify() == ["v0001", "v0002"]


def test_the_same_rollback_again_moves_nothing(registry):
    first = candidate("a")
    release(registry, *first, terms())
    release(registry, *candidate("b", champion=against(first[0])), terms())
    record = rollback(registry, "v0001", by="Kim", now=NOW, reason="complaints")
    assert rollback(registry, "v0001", by="Kim", now=NOW, reason="pressed twice") == record
    assert (registry.champion().version, len(registry.log.read())) == ("v0001", 3)


def test_rollback_errors(registry):
    with pytest.raises(RegistryError, match="'v0001' does not exist; the versions are none"):
        rollback(registry, "v0001", by="Kim", now=NOW)
    release(registry, *candidate("a"), terms())
    assert registry.records().served_before is None
    with pytest.raises(RegistryError, match="'v9' does not exist; the versions are v0001"):
        rollback(registry, "v9", by="Kim", now=NOW)


def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(registry):
    outcomes = []

    def run(name):
        try:
            outcomes.append(release(registry, *candidate(name), terms()).champion)
        except ChampionChangedError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[1] == "v0001"
    assert "the champion is now v0001" in sorted(outcomes)[0]
    assert registry.verify() == ["v0001"]


def test_retraining_is_needed_until_what_serves_changes(registry):
    first = candidate("a")
    release(registry, *first, terms())
    assert registry.log.read().unsolved is None
    record = note(registry, {"outcome": "retraining needed", "serve": "float"}, NOW)
    assert registry.log.read().unsolved == record
    waive(registry, waiver(), NOW)
    assert registry.log.read().unsolved == record
    release(registry, *candidate("b", champion=against(first[0])), terms())
    assert registry.log.read().unsolved is None
    record = note(registry, {"outcome": "retraining needed", "serve": "champion"}, NOW)
    note(registry, {"outcome": "requantization advised"}, NOW)
    assert registry.log.read().unsolved == record
    note(registry, {"outcome": "champion holds"}, NOW)
    assert registry.log.read().unsolved is None


@pytest.mark.parametrize("text", ["Kim\n   9  2026-01-01  rollback  v0001", "\x1b[1A", "a\u2028b"])
def test_no_text_that_people_type_forges_a_line_of_the_history(registry, text):
    given = candidate("a")
    release(registry, *given, terms())
    for action in (
        lambda: release(registry, *given, terms(by=text)),
        lambda: release(registry, *given, terms(trigger=text)),
        lambda: release(registry, *given, terms(acknowledged=[text])),
        lambda: rollback(registry, "v0001", by="Kim", reason=text),
        lambda: rollback(registry, "v0001", by=text),
        lambda: waiver(by=text),
        lambda: waiver(reason=text),
        lambda: waiver(group=text),
    ):
        with pytest.raises(InputError, match="control character"):
            action()
    assert len(registry.log.read()) == 1
