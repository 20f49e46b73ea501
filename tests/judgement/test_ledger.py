import json
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.ledger import Ledger, alpha_at
from ptq_pipeline.judgement.verdict import AuditSetting, build_verdict

AUDIT, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "deep" / "ledger.jsonl")


def test_the_same_question_costs_nothing(ledger):
    first = ledger.enter(AUDIT, "recipe", {"method": "minmax", "bits": 4})
    second = ledger.enter(AUDIT, "recipe", {"method": "mse", "bits": 4})
    again = ledger.enter(AUDIT, "recipe", {"bits": 4, "method": "minmax"})
    assert (first.index, second.index, again) == (1, 2, first)
    assert len(ledger.entries()) == 2


def test_a_ledger_that_another_process_holds_is_an_error_not_a_wait(ledger, monkeypatch):
    monkeypatch.setattr("ptq_pipeline.judgement.ledger.LOCK_SECONDS", 0.01)
    ledger.path.parent.mkdir()
    with FileLock(ledger.path.with_name(f".{ledger.path.name}.lock")):
        with pytest.raises(InputError, match="another process has held .*lock"):
            ledger.enter(AUDIT, "recipe", {"seed": 1})


def test_kinds_and_images_are_counted_apart(ledger):
    ledger.enter(AUDIT, "recipe", {"x": 1})
    assert ledger.enter(AUDIT, "candidate", {"x": 1}).index == 1
    assert ledger.enter(OTHER, "recipe", {"x": 1}).index == 1
    asked = [(entry.audit, entry.kind) for entry in ledger.entries()]
    assert asked == [(AUDIT, "recipe"), (AUDIT, "candidate"), (OTHER, "recipe")]


def test_levels_add_up_to_alpha():
    assert sum(alpha_at(0.05, j) for j in range(1, 5000)) == pytest.approx(0.05, rel=1e-3)


def swap(lines):
    return [lines[1], lines[0], *lines[2:]]


def renamed(lines):
    return [lines[0].replace('"x":0', '"x":9'), *lines[1:]]


def resealed(lines):
    """Edit an entry and recompute its own hash: the next one still gives it away."""
    content = json.loads(lines[0])
    content["question"] = {"x": 9}
    return [json.dumps(content), *lines[1:]]


@pytest.mark.parametrize(
    "edit", [swap, renamed, resealed, lambda lines: lines[1:], lambda lines: ["{", *lines]]
)
def test_an_edited_ledger_is_found(ledger, edit):
    for x in range(3):
        ledger.enter(AUDIT, "recipe", {"x": x})
    lines = ledger.path.read_text().splitlines()
    ledger.path.write_text("\n".join(edit(lines)) + "\n")
    with pytest.raises(InputError, match="restore the file from version control"):
        ledger.enter(AUDIT, "recipe", {"x": 4})


@pytest.mark.parametrize("kept", [None, 0, 1, 2])
def test_a_ledger_that_lost_its_last_lines_is_found(ledger, kept):
    for x in range(3):
        ledger.enter(AUDIT, "recipe", {"x": x})
    lines = ledger.path.read_text().splitlines(keepends=True)
    if kept is None:
        ledger.path.unlink()
    else:
        ledger.path.write_text("".join(lines[:kept]))
    for action in (ledger.entries, lambda: ledger.enter(AUDIT, "recipe", {"x": 1})):
        with pytest.raises(InputError, match="restore the file from version control"):
            action()
    ledger.path.write_text("".join(lines))
    assert len(ledger.entries()) == 3


def test_a_ledger_of_an_earlier_release_gets_its_head_with_the_next_entry(ledger):
    ledger.enter(AUDIT, "recipe", {"x": 0})
    ledger.head.unlink()
    assert len(ledger.entries()) == 1
    ledger.enter(AUDIT, "recipe", {"x": 0})
    assert json.loads(ledger.head.read_text())["head"] == ledger.entries()[-1].hash


def test_a_ledger_of_an_earlier_release_is_read_and_goes_on_as_it_was(ledger):
    ledger.path.parent.mkdir()
    shutil.copy(Path(__file__).parents[1] / "locked/default/audit_ledger.jsonl", ledger.path)
    before = ledger.path.read_bytes()
    assert b"".join(entry.line + b"\n" for entry in ledger.entries()) == before
    ledger.enter(AUDIT, "recipe", {"x": 0})
    assert ledger.path.read_bytes().startswith(before)


@pytest.mark.parametrize("content", ["", "{", '{"entries": 1}', "[]"])
def test_a_damaged_head_is_named(ledger, content):
    ledger.enter(AUDIT, "recipe", {"x": 0})
    ledger.head.write_text(content)
    with pytest.raises(InputError, match=r"head\.json' is damaged"):
        ledger.entries()


def judge(world, policy, ledger):
    setting = AuditSetting(opener=ledger.opener(AUDIT))
    return build_verdict(world.scores, world.trials, world.index, policy, setting)[0]


def with_rule(policy, rule):
    return policy.model_copy(update={"ledger": policy.ledger.model_copy(update={"rule": rule})})


def other_seed(world):
    index = world.index.assign(set_id="new-" + world.index["set_id"])
    trials = world.trials.assign(set_id="new-" + world.trials["set_id"])
    return type(world)(world.samples, world.groups, world.scores, trials, index)


@pytest.mark.parametrize("rule", ["warn", "spend", "fresh"])
def test_policy_decides_what_a_second_recipe_costs(build_world, policy, ledger, rule):
    policy = with_rule(policy, rule)
    world = build_world([0] * 50)
    first = judge(world, policy, ledger)
    assert judge(world, policy, ledger).to_json() == first.to_json()
    second = judge(other_seed(world), policy, ledger)
    opened = second.to_json()["ledger"]
    assert [each["index"] for each in opened["openings"]] == [2, 2]
    assert judge(world, policy, ledger).to_json() == first.to_json()
    assert first.result == "PASS"
    if rule == "fresh":
        assert second.result == "INCONCLUSIVE"
        assert {reason.rule for reason in second.reasons} == {"audit_reused"}
        assert any("Fresh audit images" in sentence for sentence in second.settle)
    else:
        assert second.result == "PASS"
    spent = alpha_at(0.05, 2) if rule == "spend" else 0.05
    assert second.recipe.alpha == pytest.approx(spent)
    assert opened["statement"].startswith("This is the 2nd recipe judged on these audit images")


def test_limits_and_more_draws_of_the_sequence_are_the_same_question(build_world, policy, ledger):
    world = build_world([0] * 50)
    judge(world, policy, ledger)
    loose = policy.model_copy(update={"p0": 0.2, "draws": 40})
    assert judge(world, loose, ledger).ledger.openings[0].index == 1
