"""What is not judged: too few images, no images, or a float model with nothing to lose."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.grouping import build_groups
from ptq_pipeline.judgement.building import AuditSetting, build_verdict
from ptq_pipeline.judgement.judged_groups import keep_groups, propose_representatives
from ptq_pipeline.judgement.judging import check_float_model
from ptq_pipeline.judgement.policy import Policy

BOOT = {"level": "class", "group": "boot"}


@pytest.fixture(scope="module")
def good(build_world):
    return build_world([0] * 50)


def judge(world, policy, classes=("boot", "bag"), **changes):
    policy = Policy.model_validate({**policy.to_json(), **changes})
    groups = build_groups(world.samples, classes, {"tone": ("dark", "light")})
    setting = AuditSetting(groups)
    return build_verdict(world.scores, world.trials, world.index, policy, setting)[0]


def large_limits(policy, **sizes):
    limits = policy.to_json()["limits"]
    return {level: {**limits[level], "min_size": sizes.get(level, 0)} for level in limits}


def test_a_class_too_small_to_be_judged_blocks_a_pass_and_is_named_everywhere(good, policy):
    limits = large_limits(policy, **{"class": 501})
    verdict = judge(good, policy, limits=limits)
    assert (verdict.result, verdict.candidate.result) == ("INCONCLUSIVE", "INCONCLUSIVE")
    assert verdict.recipe.result == "INCONCLUSIVE"
    assert {reason.rule for reason in verdict.reasons} == {"group_not_judged"}
    assert {(reason.subject, reason.group) for reason in verdict.reasons} == {
        (subject, group) for subject in ("recipe", "candidate") for group in ("boot", "bag")
    }
    assert verdict.reasons[0].text == (
        "class boot has 500 audit images and needs 501 to be judged."
    )
    assert verdict.not_judged == (
        "Not judged: class boot (500 images, needs 501), class bag (500 images, needs 501)."
    )
    assert "1 more audit samples of class boot would let it be judged." in verdict.settle
    assert any("allow_not_judged" in each for each in verdict.settle)


def test_policy_may_allow_it_by_name_and_it_is_still_named(good, policy):
    limits = large_limits(policy, **{"class": 501})
    one = judge(good, policy, limits=limits, allow_not_judged=[BOOT])
    assert {reason.group for reason in one.reasons} == {"bag"}
    allowed = [BOOT, {"level": "class", "group": "bag"}]
    both = judge(good, policy, limits=limits, allow_not_judged=allowed)
    assert (both.result, both.reasons) == ("PASS", ())
    assert "class boot (500 images, needs 501; policy allows it)" in both.not_judged
    content = both.to_json()
    assert content["not_judged"].startswith("Not judged: class boot")
    assert all(each["allowed"] and not each["blocks"] for each in content["groups_not_judged"])


def test_small_intersections_are_displayed_and_block_nothing(good, policy):
    verdict = judge(good, policy, limits=large_limits(policy, intersection=501))
    assert verdict.result == "PASS"
    assert {each.level for each in verdict.groups_not_judged} == {"intersection"}
    assert verdict.not_judged is None


def test_a_class_of_the_model_without_any_image_is_not_judged(good, policy):
    verdict = judge(good, policy, ("boot", "bag", "hat"))
    assert verdict.result == "INCONCLUSIVE"
    (hat,) = verdict.groups_not_judged
    assert (hat.group, hat.n, hat.blocks) == ("hat", 0, True)
    assert hat.needed_n > 0
    assert "class hat (0 images, needs" in verdict.not_judged


def test_many_groups_are_counted_in_the_line_and_all_listed(good, policy):
    verdict = judge(good, policy, ("boot", "bag", *(f"c{i}" for i in range(30))))
    assert verdict.not_judged.endswith(", and 26 other groups.")
    assert len(verdict.groups_not_judged) == 30


def at_chance(world, shift, level=None, accuracy=0.5):
    scores = world.scores.copy()
    rows = scores["shift"] == shift
    if level is not None:
        rows &= (scores["level"] == level[0]) & (scores["group"] == level[1])
    scores.loc[rows, "float_accuracy"] = accuracy
    return type(world)(world.samples, world.groups, scores, world.trials, world.index)


def test_a_shift_that_destroys_the_float_model_is_one_reason_and_no_pass(good, policy):
    verdict = judge(at_chance(good, "noise"), policy)
    assert verdict.result == "INCONCLUSIVE"
    assert {(r.rule, r.level, r.shift) for r in verdict.reasons} == {
        ("float_floor", "average", "noise")
    }
    text = verdict.reasons[0].text
    assert text.startswith("The float model is right on 50.0 % of 1,000 images of the average")
    assert "which does not show more than 55.0 %" in text
    assert any("under noise" in each for each in verdict.settle)
    noise = [cell for cell in verdict.candidate.cells if cell.shift == "noise"]
    assert {cell.status for cell in noise} == {"not_judged"}
    clean = [cell for cell in verdict.candidate.cells if cell.shift == "clean"]
    assert {cell.status for cell in clean} == {"shown_good"}


def test_a_class_with_nothing_to_lose_under_one_shift_is_named_with_it(good, policy):
    world = at_chance(good, "noise", ("class", "boot"), 0.57)
    verdict = judge(world, policy)
    assert verdict.result == "INCONCLUSIVE"
    assert {(r.rule, r.group, r.shift) for r in verdict.reasons} == {
        ("float_floor", "boot", "noise")
    }
    (boot,) = verdict.groups_not_judged
    (cell,) = boot.at_floor
    # 57 % is above 55 %, but 500 images do not show it.
    assert (cell.shift, cell.n, cell.float_accuracy) == ("noise", 500, 0.57)
    assert verdict.not_judged == (
        "Not judged: class boot (under noise the float model is right on 57.0 %)."
    )
    allowed = judge(world, policy, allow_not_judged=[BOOT])
    assert allowed.result == "PASS" and "policy allows it" in allowed.not_judged
    lower = judge(world, policy, float_floor={"class": 50})
    assert (lower.result, lower.not_judged) == ("PASS", None)


def test_a_critical_group_with_nothing_to_lose_blocks_also_where_it_is_an_intersection(
    good, policy
):
    key = ("intersection", "boot & tone=dark")
    world = at_chance(good, "noise", key)
    assert judge(world, policy).result == "PASS"
    critical = [{"level": key[0], "group": key[1]}]
    verdict = judge(world, policy, critical=critical)
    assert verdict.result == "INCONCLUSIVE"
    assert {reason.rule for reason in verdict.reasons} == {"float_floor"}


def test_a_group_with_nothing_to_lose_can_still_fail(build_world, policy):
    world = at_chance(build_world([200] * 50), "noise", ("class", "boot"))
    verdict = judge(world, policy, allow_not_judged=[BOOT])
    assert verdict.result == "FAIL"
    assert any(r.group == "boot" and r.rule == "candidate.shown_bad" for r in verdict.reasons)


@pytest.mark.parametrize(
    ("right", "n", "classes"), [(200, 1000, 5), (126, 1000, 10), (560, 1000, 2)]
)
def test_a_float_model_at_chance_is_refused_before_any_trial(policy, right, n, classes):
    with pytest.raises(InputError, match="does not show more than the floor of .* preprocessing"):
        check_float_model(right, n, policy, classes)


def test_a_float_model_above_its_floor_is_not_refused(policy):
    check_float_model(900, 1000, policy, 10)
    check_float_model(250, 1000, policy, 10)
    lower = Policy.model_validate({**policy.to_json(), "float_floor": {"average": 15}})
    check_float_model(180, 1000, lower, 5)
    with pytest.raises(InputError, match="floor of 30.0 %"):
        higher = Policy.model_validate({**policy.to_json(), "float_floor": {"average": 30}})
        check_float_model(250, 1000, higher, 10)


def test_the_default_floor_stands_above_chance(policy):
    assert policy.float_floor.of("class", 10) == pytest.approx(0.19)
    assert policy.float_floor.of("average", 2) == pytest.approx(0.55)
    assert policy.float_floor.of("segment", 1000) == pytest.approx(0.1009)


def test_names_and_levels_of_what_may_be_left_out_are_checked(policy):
    def build(**changes):
        return Policy.model_validate({**policy.to_json(), **changes})

    groups = {"average": ["all"], "class": ["boot"]}
    with pytest.raises(InputError, match="allow_not_judged: there is no class 'hat'"):
        hat = {"level": "class", "group": "hat"}
        build(allow_not_judged=[hat]).check_names(groups, ["clean"])
    with pytest.raises(ValidationError, match="critical, so it must be judged"):
        build(allow_not_judged=[BOOT], critical=[BOOT])
    with pytest.raises(ValidationError, match="allow_not_judged"):
        build(allow_not_judged=[{"level": "average", "group": "all"}])
    with pytest.raises(ValidationError, match="float_floor"):
        build(float_floor={"class": 100})


def test_an_average_that_cannot_be_judged_blocks_a_pass(good, policy):
    verdict = judge(good, policy, limits=large_limits(policy, average=2000))
    assert verdict.result == "INCONCLUSIVE"
    assert "the average (1,000 images, needs 2,000)" in verdict.not_judged
    assert np.all([reason.level == "average" for reason in verdict.reasons])


DEFINITIONS = GroupDefinitions.read(
    {"classes": ("boot", "bag", "hat"), "segments": {"tone": {"names": ("dark", "light")}}}
)


def quick(policy, **counts):
    return Policy.model_validate({**policy.to_json(), "draws": 5, "representatives": counts or {}})


@pytest.fixture
def tables():
    position = np.arange(600)
    samples = pd.DataFrame(
        {
            "sample_id": position,
            "split": np.repeat(["pool", "selection", "audit"], 200),
            "label": np.where(position % 10 < 7, 0, np.where(position % 10 < 9, 1, 2)),
            "tone": np.where(position % 4 < 1, "dark", "light"),
        }
    )
    predicted = samples["label"].where(samples["label"] != 2, 0)
    margin = np.where(samples["label"] == 1, 0.2, 0.9)
    return samples, samples[["sample_id"]].assign(predicted=predicted, margin=margin)


def choose(tables, policy):
    return propose_representatives(*tables, DEFINITIONS, policy)


def test_each_kind_of_group_is_named_with_its_reason(tables, policy):
    chosen = choose(tables, quick(policy, lowest_accuracy=1, smallest_margin=1, most_frequent=1))
    assert [(each.group, each.why) for each in chosen] == [
        ("all", "average"),
        ("hat", "lowest_accuracy"),
        ("bag", "smallest_margin"),
        ("tone=light", "most_frequent"),
    ]
    assert chosen[1].value == 0.0 and chosen[1].n == 40


def test_the_audit_takes_no_part(tables, policy):
    samples, profiles = tables
    changed = profiles.assign(predicted=profiles["predicted"].where(samples["split"] != "audit", 1))
    assert choose((samples, changed), quick(policy)) == choose(tables, quick(policy))


def test_critical_groups_are_always_there(tables, policy):
    critical = policy.model_validate(
        {**policy.to_json(), "critical": [{"level": "class", "group": "boot"}]}
    )
    chosen = choose(tables, quick(critical, lowest_accuracy=0, smallest_margin=0, most_frequent=1))
    assert ("boot", "critical") in [(each.group, each.why) for each in chosen]


def test_no_policy_means_all_groups(tables, policy):
    assert choose(tables, policy) == ()
    scores = pd.DataFrame({"level": ["class"], "group": ["bag"]})
    assert keep_groups(scores, []) is scores
    assert keep_groups(scores, [("class", "boot")]).empty


def test_a_look_that_could_pass_is_refused(policy):
    with pytest.raises(ValidationError, match="a PASS needs every group"):
        Policy.model_validate({**policy.to_json(), "representatives": {}})


def test_missing_profiles_are_an_error(tables, policy):
    samples, profiles = tables
    with pytest.raises(InputError, match="no representative group can be proposed"):
        choose((samples, profiles[profiles["sample_id"] >= 400]), quick(policy))
