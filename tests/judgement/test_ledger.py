import json
from dataclasses import replace

import numpy as np
import pytest
from filelock import FileLock

from ptq_pipeline.core.canonical import canonical_hash, canonical_json
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.building import AuditSetting, build_verdict
from ptq_pipeline.judgement.ledger import KEPT_IMAGES, Asking, AuditImages, Ledger, overlap
from ptq_pipeline.judgement.openings import Opener, nothing_left
from ptq_pipeline.judgement.policy import LedgerPolicy


def images(start, stop):
    """Content hashes of some of endlessly many images, in the order of their numbers."""
    spread = (np.arange(start, stop, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> 32
    return AuditImages.of([f"{int(each):08x}" + 56 * "0" for each in spread])


AUDIT, OTHER = images(0, 500), images(5000, 5500)


def ask(kind="recipe", look=None, share=0.0, **question):
    return Asking(kind, question, look, share)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "deep" / "ledger.jsonl")


def test_the_same_question_costs_nothing(ledger):
    first = ledger.enter(AUDIT, ask(method="minmax", bits=4))
    second = ledger.enter(AUDIT, ask(method="mse", bits=4))
    again = ledger.enter(AUDIT, ask(bits=4, method="minmax"))
    assert (first.index, second.index, again) == (1, 2, first)
    assert len(ledger.entries()) == 2


def test_a_ledger_that_another_process_holds_is_an_error_not_a_wait(ledger, monkeypatch):
    monkeypatch.setattr("ptq_pipeline.judgement.ledger.LOCK_SECONDS", 0.01)
    ledger.path.parent.mkdir()
    with FileLock(ledger.path.with_name(f".{ledger.path.name}.lock")):
        with pytest.raises(InputError, match="another process has held .*lock"):
            ledger.enter(AUDIT, ask(seed=1))


def test_one_counter_for_everything_that_opens_the_images(ledger):
    ledger.enter(AUDIT, ask(x=1))
    assert ledger.enter(AUDIT, ask("design", x=1)).index == 2
    assert ledger.enter(AUDIT, ask("reaudit", x=1)).index == 3
    assert ledger.enter(OTHER, ask("recipe", x=1)).index == 1
    assert ledger.enter(AUDIT, ask("recipe", x=1, look={"draws": 50})).index == 1


def test_foreseeing_writes_nothing_and_says_what_entering_will(ledger):
    ledger.enter(AUDIT, ask(x=1))
    told = ledger.foresee(AUDIT, ask(x=2, look={"draws": 50}, share=1.0))
    assert len(ledger.entries()) == 1
    assert ledger.enter(AUDIT, ask(x=2, look={"draws": 50}, share=1.0)) == told


def test_looks_within_a_question_share_its_level(ledger):
    shares = [
        ledger.enter(AUDIT, ask(x=1, look={"draws": draws}, share=0.5)).share
        for draws in (5, 50, 60, 70)
    ]
    assert shares == [0.5, 0.5, 0.0, 0.0]
    assert ledger.enter(AUDIT, ask(x=1, look={"draws": 50}, share=1.0)).share == 0.5
    thirds = [ledger.enter(AUDIT, ask(x=2, look={"k": k}, share=1 / 3)).share for k in range(4)]
    assert thirds == pytest.approx([1 / 3] * 3 + [0.0], abs=1e-11)


def test_a_set_that_grows_stays_the_set_that_it_was(ledger):
    looks = [
        ledger.enter(images(0, 500 + 50 * step), ask(x=1, look={"draws": 50}, share=1.0))
        for step in range(10)
    ]
    assert [each.share for each in looks] == [1.0] + [0.0] * 9
    assert {each.index for each in looks} == {1}
    assert ledger.enter(images(0, 500), ask(x=2)).index == 2


@pytest.mark.parametrize(
    ("start", "stop", "same"),
    [(250, 750, True), (260, 760, False), (0, 100, True), (400, 500, True), (480, 1000, False)],
)
def test_half_of_the_smaller_set_makes_it_the_same(ledger, start, stop, same):
    ledger.enter(AUDIT, ask(x=1))
    assert ledger.enter(images(start, stop), ask(x=2)).index == (2 if same else 1)


@pytest.mark.parametrize("size", [KEPT_IMAGES, 8000, 50_000])
def test_large_sets_are_compared_by_a_sample(size):
    whole = images(0, size)
    assert len(whole.kept) == 8 * KEPT_IMAGES
    for shared in (0.0, 0.25, 0.75, 1.0):
        start = round(size * (1 - shared))
        found = overlap(whole.kept, images(start, start + size).kept)
        assert found == pytest.approx(shared, abs=0.05)
    assert overlap(whole.kept, images(0, size // 20).kept) == 1.0


@pytest.mark.parametrize(
    ("rule", "total"), [("spend", 1.0), ("divide", 1.0), ("fresh", 1.0), ("warn", 4999.0)]
)
def test_parts_of_all_questions_add_up_to_alpha(rule, total):
    policy = LedgerPolicy(rule=rule, questions=7)
    assert sum(policy.part(j) for j in range(1, 5000)) == pytest.approx(total, rel=1e-3)


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
        ledger.enter(AUDIT, ask(x=x))
    lines = ledger.path.read_text().splitlines()
    ledger.path.write_text("\n".join(edit(lines)) + "\n")
    with pytest.raises(InputError, match="restore the file from version control"):
        ledger.enter(AUDIT, ask(x=4))


@pytest.mark.parametrize("kept", [None, 0, 1, 2])
def test_a_ledger_that_lost_its_last_lines_is_found(ledger, kept):
    for x in range(3):
        ledger.enter(AUDIT, ask(x=x))
    lines = ledger.path.read_text().splitlines(keepends=True)
    if kept is None:
        ledger.path.unlink()
    else:
        ledger.path.write_text("".join(lines[:kept]))
    for action in (ledger.entries, lambda: ledger.enter(AUDIT, ask(x=1))):
        with pytest.raises(InputError, match="restore the file from version control"):
            action()
    ledger.path.write_text("".join(lines))
    assert len(ledger.entries()) == 3


def test_a_ledger_of_an_earlier_release_gets_its_head_with_the_next_entry(ledger):
    ledger.enter(AUDIT, ask(x=0))
    ledger.head.unlink()
    assert len(ledger.entries()) == 1
    ledger.enter(AUDIT, ask(x=0))
    assert json.loads(ledger.head.read_text())["head"] == ledger.entries()[-1].hash


def test_entries_of_an_earlier_release_are_questions_to_the_very_same_images(ledger):
    """Schema version 1: a place among those of its kind, no look, and a candidate beside it."""
    lines, previous = [], None
    for kind, index, question in (("recipe", 1, 1), ("candidate", 1, 7), ("recipe", 2, 2)):
        said = {"audit": AUDIT.hash, "index": index, "kind": kind, "previous": previous}
        said |= {"question": {"x": question}, "schema_version": 1}
        previous = canonical_hash(said)
        lines.append(canonical_json({**said, "hash": previous}) + b"\n")
    ledger.path.parent.mkdir()
    ledger.path.write_bytes(b"".join(lines))
    assert b"".join(entry.line + b"\n" for entry in ledger.entries()) == b"".join(lines)
    # The first look at an old question is taken for its own, the next one is another.
    shares = [ledger.enter(AUDIT, ask(x=2, look={"k": k}, share=1.0)) for k in (50, 60)]
    assert [(each.index, each.share) for each in shares] == [(2, 1.0), (2, 0.0)]
    assert ledger.enter(AUDIT, ask(x=3)).index == 3
    assert ledger.path.read_bytes().startswith(b"".join(lines))
    assert len(ledger.entries()) == 6


@pytest.mark.parametrize("content", ["", "{", '{"entries": 1}', "[]"])
def test_a_damaged_head_is_named(ledger, content):
    ledger.enter(AUDIT, ask(x=0))
    ledger.head.write_text(content)
    with pytest.raises(InputError, match=r"head\.json' is damaged"):
        ledger.entries()


def judge(world, policy, ledger, audit=AUDIT):
    setting = AuditSetting(opener=Opener(ledger, audit))
    return build_verdict(world.scores, world.trials, world.index, policy, setting)[0]


def with_rule(policy, **rule):
    return policy.model_copy(update={"ledger": policy.ledger.model_copy(update=rule)})


def other_seed(world):
    index = world.index.assign(set_id="new-" + world.index["set_id"])
    trials = world.trials.assign(set_id="new-" + world.trials["set_id"])
    return type(world)(world.samples, world.groups, world.scores, trials, index)


@pytest.mark.parametrize("rule", ["warn", "spend", "fresh", "divide"])
def test_policy_decides_what_a_second_recipe_costs(build_world, policy, ledger, rule):
    policy = with_rule(policy, rule=rule, questions=2)
    world = build_world([0] * 60)
    policy = policy.model_copy(update={"draws": 60})
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
    part = LedgerPolicy(rule=rule, questions=2).part(2) or 1.0
    assert second.recipe.alpha == pytest.approx(0.05 * part)
    assert opened["statement"].startswith("This is the 2nd question asked of these audit images")


def test_beyond_the_preset_number_of_questions_nothing_passes(build_world, policy, ledger):
    policy = with_rule(policy, rule="divide", questions=1)
    world = build_world([0] * 50)
    assert judge(world, policy, ledger).result == "PASS"
    second = judge(other_seed(world), policy, ledger)
    assert second.result == "INCONCLUSIVE"
    assert {reason.rule for reason in second.reasons} == {"audit_questions_spent"}


@pytest.mark.parametrize("rule", ["warn", "spend", "divide"])
def test_asking_differently_is_another_look_and_cannot_pass(build_world, policy, ledger, rule):
    """With other draws, limits, groups or images; each look at a question has its own entry."""
    policy = with_rule(policy, rule=rule)
    world = build_world([0] * 120)
    policy = policy.model_copy(update={"draws": 100})
    assert judge(world, policy, ledger).result == "PASS"
    looser = policy.model_dump(by_alias=True)["limits"]
    looser["intersection"]["points"] = 20.0
    for changes, audit in (
        ({"draws": 120}, AUDIT),
        ({"p0": 0.2}, AUDIT),
        ({"limits": policy.limits.model_validate(looser)}, AUDIT),
        ({}, images(0, 501)),
    ):
        again = judge(world, policy.model_copy(update=changes), ledger, audit)
        assert again.result == "INCONCLUSIVE"
        assert {reason.rule for reason in again.reasons} == {"audit_looks_spent"}
        assert again.ledger.openings[0].index == 1
    assert judge(world, policy, ledger).result == "PASS", "the first look stays what it was"


def test_planned_looks_divide_the_level_and_may_each_pass(build_world, policy, ledger):
    policy = with_rule(policy, looks=2)
    world = build_world([0] * 120)
    alphas = []
    for draws in (60, 100, 120):
        found = judge(world, policy.model_copy(update={"draws": draws}), ledger)
        alphas.append((found.result, round(found.recipe.alpha, 6)))
    assert alphas == [("PASS", 0.025), ("PASS", 0.025), ("INCONCLUSIVE", 0.025)]


def test_a_look_that_cannot_pass_spends_nothing(build_world, policy, ledger):
    few = judge(build_world([0, 0, 0]), policy, ledger)
    assert few.result == "INCONCLUSIVE"
    assert {reason.rule for reason in few.reasons} == {"recipe.draws_missing"}
    assert judge(build_world([0] * 50), policy, ledger).result == "PASS"


def test_methods_without_a_spec_are_not_one_question(build_world, policy, ledger):
    world = build_world([0] * 50)
    judge(world, policy, ledger)
    renamed = {"trial_id": "other-" + world.trials["trial_id"]}
    other = replace(
        world,
        trials=world.trials.assign(**renamed),
        scores=world.scores.assign(trial_id="other-" + world.scores["trial_id"].astype(str)),
    )
    assert judge(other, policy, ledger).ledger.openings[0].index == 2


def test_what_the_ledger_leaves_is_said_before_a_run(policy, ledger):
    opener, spending = Opener(ledger, AUDIT), with_rule(policy, rule="spend")
    assert nothing_left(opener, policy) == nothing_left(opener, spending) == ""
    for x in range(3):
        ledger.enter(AUDIT, ask(x=x))
    assert nothing_left(opener, policy) == "", "a warning of the verdict, not of the plan"
    text = nothing_left(opener, spending)
    assert "would be question 4 to these audit images" in text and "a PASS takes 61 draws" in text
    spent = nothing_left(opener, with_rule(policy, rule="divide", questions=3))
    assert "no level is left for it: it could not PASS" in spent
    assert len(ledger.entries()) == 3
