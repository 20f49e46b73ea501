import copy
import json

import pytest
from tests.verdicts import make_reason, make_verdict

from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.champion import Comparison
from ptq_pipeline.judgement.decision import Decision, Execution, Outcome, outcome_of
from ptq_pipeline.judgement.verdict import Verdict

REASON = make_reason("candidate.shown_bad", "Sandal", observed=0.0812)
FILES = {"model.xml": "12" * 32, "model.bin": "34" * 32}


def verdict(result: str = "FAIL") -> Verdict:
    return make_verdict(result, reasons=(REASON,))


def decide(result: str) -> Decision:
    return Decision.of(verdict(result), FILES, "base")


@pytest.mark.parametrize(
    ("result", "outcome"),
    [("PASS", "promote"), ("FAIL", "refuse"), ("INCONCLUSIVE", "inconclusive")],
)
def test_the_outcome_follows_from_the_verdict(result: str, outcome: str) -> None:
    content = decide(result).to_json()
    assert (content["decision"], content["verdict"]) == (outcome, result)
    assert outcome_of(result) is Outcome(outcome)


def test_every_field_of_the_contract_is_there_and_the_seal_covers_the_rest() -> None:
    content = decide("FAIL").to_json()
    assert set(content) == {
        "schema_version",
        "decision",
        "verdict",
        "comparison",
        "comparison_hash",
        "execution",
        "execution_hash",
        "obligations",
        "reasons",
        "candidate",
        "verdict_hash",
        "policy_hash",
        "champion",
        "environment",
        "decision_hash",
    }
    assert content["candidate"] == {"trial_id": "t1", "set_id": "s1", "files": FILES}
    assert content["verdict_hash"] == canonical_hash(verdict().to_json())
    rest = {key: value for key, value in content.items() if key != "decision_hash"}
    assert content["decision_hash"] == canonical_hash(rest)


CHAMPION = {"version": "v0001", "decision_hash": "cd" * 32}


def compared(result: str) -> Comparison:
    reasons = (make_reason("champion.shown_bad", "Coat"),)
    return Comparison(result=result, champion=CHAMPION, reasons=reasons)


@pytest.mark.parametrize(
    ("judged", "comparison", "outcome"),
    [
        ("PASS", "PASS", "promote"),
        ("PASS", "FAIL", "refuse"),
        ("PASS", "INCONCLUSIVE", "inconclusive"),
        ("INCONCLUSIVE", "FAIL", "refuse"),
        ("INCONCLUSIVE", "NONE", "inconclusive"),
        ("FAIL", "PASS", "refuse"),
    ],
)
def test_promotion_needs_the_verdict_and_the_comparison(
    judged: str, comparison: str, outcome: str
) -> None:
    decision = Decision.of(verdict(judged), FILES, "base", comparison=compared(comparison))
    assert decision.outcome == outcome
    assert decision.champion.to_json() == CHAMPION
    assert [reason.rule for reason in decision.reasons] == [
        "candidate.shown_bad",
        "champion.shown_bad",
    ]
    assert Decision.read(json.loads(json.dumps(decision.to_json()))) == decision
    executed = Execution(result="FAIL", reasons=(make_reason("x"),))
    failed = Decision.of(verdict(), FILES, "base", execution=executed)
    assert failed.outcome == "refuse" and failed.reasons[-1].rule == "x"
    assert Decision.read(failed.to_json()) == failed
    with pytest.raises(InputError, match="comparison with the champion is incomplete or damaged"):
        Comparison.read({**compared("PASS").to_json(), "result": "maybe"})


def test_a_decision_survives_its_file() -> None:
    decision = decide("PASS")
    assert Decision.read(json.loads(json.dumps(decision.to_json(), indent=2))) == decision


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("decision",), "promote"),
        (("environment",), "passing"),
        (("reasons", 0, "observed"), 0.01),
        (("candidate", "files", "model.bin"), "56" * 32),
        (("champion",), {"version": 1}),
        (("decision_hash",), "0" * 64),
        (("note",), "looks fine"),
    ],
)
def test_an_edited_decision_is_refused(path: tuple, value: object) -> None:
    content = copy.deepcopy(decide("FAIL").to_json())
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(InputError, match="does not match its hash"):
        Decision.read(content)


def test_a_resealed_contradiction_is_refused() -> None:
    content = decide("FAIL").to_json()
    content["decision"] = "promote"
    del content["decision_hash"]
    content["decision_hash"] = canonical_hash(content)
    with pytest.raises(InputError, match="says 'promote' but its verdict is FAIL"):
        Decision.read(content)


def test_damaged_content_is_refused() -> None:
    content = decide("FAIL").to_json()
    with pytest.raises(InputError, match="schema version 9"):
        Decision.read({**content, "schema_version": 9})
    for key in set(content) - {"schema_version"}:
        with pytest.raises(InputError, match="incomplete or damaged"):
            Decision.read({name: value for name, value in content.items() if name != key})


def test_a_decision_of_an_earlier_release_is_read_and_written_again_the_same() -> None:
    content = decide("FAIL").to_json()
    del content["execution_hash"], content["reasons"][0]["sentence"], content["decision_hash"]
    content["schema_version"] = 2
    content["decision_hash"] = canonical_hash(content)
    decision = Decision.read(content)
    assert decision.to_json() == content and decision.hash == content["decision_hash"]


def test_a_verdict_that_cannot_be_read_is_refused() -> None:
    content = verdict().to_json()
    for change in ({"result": "pass"}, {"schema_version": 9}):
        with pytest.raises(InputError, match="write it again with worst_case_check"):
            Verdict.read({**content, **change})
    for key in set(content) - {"schema_version"} - Verdict.added:
        partial = {name: value for name, value in content.items() if name != key}
        with pytest.raises(InputError, match=f"damaged .{key}: Field required"):
            Verdict.read(partial)
