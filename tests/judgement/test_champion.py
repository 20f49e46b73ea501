"""The candidate against the version that serves, on the same images."""

import base64
import copy
import json

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.grouping import build_groups
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.judgement.baseline import Baseline, audit_hash
from ptq_pipeline.judgement.champion import candidate_baseline, compare_with_champion
from ptq_pipeline.judgement.policy import Policy

SHIFTS = {"clean": {}, "noise": {"sigma": 0.1}}
N = 1000


@pytest.fixture(scope="module")
def audit() -> pd.DataFrame:
    position = np.arange(N)
    return pd.DataFrame(
        {
            "sample_id": position + 7,
            "content_hash": [f"{i:064x}" for i in position],
            "split": "audit",
            "label": position % 2,
            "tone": np.where(position % 4 < 2, "dark", "light"),
        }
    )


@pytest.fixture(scope="module")
def groups(audit: pd.DataFrame) -> Groups:
    return build_groups(audit, ("boot", "bag"), {"tone": ("dark", "light")})


def test_a_class_too_small_for_the_tolerance_blocks_the_comparison(audit):
    groups = build_groups(audit, ("boot", "bag", "hat"), {})
    first, second = baseline(audit).served_as("v0001", "ab"), baseline(audit)
    limits = {level: {"points": 5.0} for level in ("average", "class", "segment", "intersection")}
    policy = Policy.model_validate({"limits": limits})
    found = compare_with_champion(first, second, groups, policy)
    assert found.result == "INCONCLUSIVE"
    (reason,) = found.reasons
    assert (reason.rule, reason.group, reason.n) == ("champion.not_judged", "hat", 0)
    assert reason.text == (
        "Against version v0001, class hat has 0 audit images and needs 59 to be compared."
    )
    hat = [{"level": "class", "group": "hat"}]
    allowed = Policy.model_validate({"limits": limits, "allow_not_judged": hat})
    assert compare_with_champion(first, second, groups, allowed).result == "PASS"


def baseline(audit: pd.DataFrame, wrong: int = 0, shifts=None, trial: str = "t") -> Baseline:
    """Answers that are right but for the first ``wrong`` bags under noise."""
    shifts = SHIFTS if shifts is None else shifts
    answers = {}
    for name in shifts:
        predicted = audit["label"].to_numpy().copy()
        if name == "noise":
            predicted[np.flatnonzero(predicted == 1)[:wrong]] = 0
        answers[name] = predicted
    return Baseline(
        trial_id=trial,
        audit_hash=audit_hash(audit["content_hash"]),
        shifts=shifts,
        answers=answers,
    )


@pytest.fixture
def champion(audit: pd.DataFrame) -> Baseline:
    return baseline(audit, 10).served_as("v0003", "ab" * 32)


def test_an_equal_candidate_passes_and_a_worse_one_fails_by_name(
    audit: pd.DataFrame, groups: Groups, champion: Baseline, policy: Policy
) -> None:
    same = compare_with_champion(champion, baseline(audit, 10), groups, policy)
    assert (same.result, same.reasons, same.not_compared) == ("PASS", (), ())
    assert same.champion.to_json() == {"version": "v0003", "decision_hash": "ab" * 32}
    worse = compare_with_champion(champion, baseline(audit, 110), groups, policy)
    assert worse.result == "FAIL"
    assert worse.reasons[0].rule == "champion.shown_bad"
    assert ("class", "bag", "noise") in {(r.level, r.group, r.shift) for r in worse.reasons}
    cells = {cell.key: cell for cell in worse.cells}
    bag = cells["class", "bag", "noise"]
    assert (bag.lost, bag.gained, bag.flips, bag.n) == (100, 0, 100, 500)
    assert bag.float_accuracy == pytest.approx(0.98)
    assert bag.quantized_accuracy == pytest.approx(0.78)
    assert cells["class", "boot", "noise"].status == "shown_good"


def test_a_better_candidate_passes(
    audit: pd.DataFrame, groups: Groups, champion: Baseline, policy: Policy
) -> None:
    better = compare_with_champion(champion, baseline(audit, 0), groups, policy)
    assert better.result == "PASS"


def test_between_the_two_it_is_open(
    audit: pd.DataFrame, groups: Groups, champion: Baseline, policy: Policy
) -> None:
    close = compare_with_champion(champion, baseline(audit, 34), groups, policy)
    assert close.result == "INCONCLUSIVE"
    assert {reason.rule for reason in close.reasons} == {"champion.limit"}


def test_the_tolerance_of_the_policy_decides(
    audit: pd.DataFrame, groups: Groups, champion: Baseline, policy: Policy
) -> None:
    wide = {level: {"points": 30.0} for level in ("average", "class", "segment", "intersection")}
    loose = Policy.model_validate({**policy.to_json(), "champion_tolerance": wide})
    assert compare_with_champion(champion, baseline(audit, 60), groups, loose).result == "PASS"
    assert compare_with_champion(champion, baseline(audit, 60), groups, policy).result == "FAIL"
    assert loose.hash != policy.hash


def test_the_level_of_the_test_holds_on_the_boundary(groups: Groups, audit: pd.DataFrame) -> None:
    """A candidate that loses exactly the tolerance passes in at most alpha of all audits."""
    limits = {level: {"points": 5.0} for level in ("average", "class", "segment", "intersection")}
    policy = Policy.model_validate({"limits": limits})
    rng = np.random.default_rng(11)
    passed = 0
    for _ in range(200):
        labels = audit["label"].to_numpy()
        answers = np.where(rng.random(N) < 0.05, 1 - labels, labels)
        candidate = Baseline(
            trial_id="t",
            audit_hash=audit_hash(audit["content_hash"]),
            shifts={"clean": {}},
            answers={"clean": answers},
        )
        champion = baseline(audit, 0, {"clean": {}}).served_as("v1", "ab")
        passed += compare_with_champion(champion, candidate, groups, policy).result == "PASS"
    assert passed <= 200 * 0.05


def test_no_champion_is_no_obstacle_and_no_candidate_is_one(
    audit: pd.DataFrame, groups: Groups, champion: Baseline, policy: Policy
) -> None:
    assert compare_with_champion(Baseline(), baseline(audit), groups, policy).result == "NONE"
    nothing = compare_with_champion(champion, Baseline(), groups, policy)
    assert (nothing.result, nothing.reasons[0].rule) == ("INCONCLUSIVE", "champion.not_comparable")


def test_other_images_cannot_be_compared_and_the_way_out_is_named(
    audit: pd.DataFrame, groups: Groups, champion: Baseline, policy: Policy
) -> None:
    other = baseline(audit.assign(content_hash=audit["content_hash"].to_numpy()[::-1]), 10)
    found = compare_with_champion(champion, other, groups, policy)
    assert found.result == "INCONCLUSIVE"
    assert "v0003 was audited on other images" in found.reasons[0].text
    assert "audit the version that serves" in found.reasons[0].text


def test_shifts_that_the_champion_never_saw_are_listed_not_judged(
    audit: pd.DataFrame, groups: Groups, champion: Baseline, policy: Policy
) -> None:
    candidate = baseline(audit, 400, {"clean": {}, "noise": {"sigma": 0.2}, "size": {}})
    found = compare_with_champion(champion, candidate, groups, policy)
    assert (found.result, found.not_compared) == ("PASS", ("noise", "size"))
    assert {cell.shift for cell in found.cells} == {"clean"}
    none = compare_with_champion(champion, baseline(audit, 0, {"fog": {}}), groups, policy)
    assert none.reasons[0].rule == "champion.not_comparable"


def test_clusters_are_respected(
    audit: pd.DataFrame, groups: Groups, champion: Baseline, policy: Policy
) -> None:
    """Twenty lost answers of one burst are one event: that shows less than twenty single ones."""

    def compare(wrong: int, cluster: pd.Series) -> str:
        clustered = audit.assign(cluster=cluster)
        own = build_groups(clustered, ("boot", "bag"), {"tone": ("dark", "light")})
        return compare_with_champion(champion, baseline(audit, wrong), own, policy).result

    pairs, bursts = audit["sample_id"] // 2, audit["sample_id"] // 100
    assert compare(10, pairs) == "PASS"
    assert compare(10, bursts) == "INCONCLUSIVE", "ten clusters show nothing"
    assert compare(300, pairs) == "FAIL"


def test_a_baseline_survives_its_file_byte_for_byte(champion: Baseline) -> None:
    text = json.dumps(champion.to_json(), sort_keys=True)
    again = Baseline.read(json.loads(text))
    assert json.dumps(again.to_json(), sort_keys=True) == text
    np.testing.assert_array_equal(again.answers["noise"], champion.answers["noise"])
    assert not Baseline.read(Baseline().to_json()).serves
    many = Baseline(trial_id="t", answers={"clean": np.array([0, 999, 255])})
    assert Baseline.read(many.to_json()).answers["clean"].tolist() == [0, 999, 255]


def test_damage_is_named_with_the_file_and_the_way_out(champion: Baseline) -> None:
    content = json.loads(json.dumps(champion.to_json()))
    packed = content["answers"]["noise"]
    short = base64.b64encode(base64.b64decode(packed["data"])[:-1]).decode()
    for damage in (
        {"schema_version": 9},
        {"trial_id": None} | {"answers": 3},
        {"answers": {"noise": {**packed, "data": "***"}}},
        {"answers": {"noise": {**packed, "data": short}}},
        {"answers": {"noise": {**packed, "dtype": "object"}}},
    ):
        with pytest.raises(InputError, match=r"'some\.json' .*restore it from git"):
            Baseline.read({**copy.deepcopy(content), **damage}, "some.json")
    del content["shifts"]
    with pytest.raises(InputError, match="incomplete or damaged"):
        Baseline.read(content)


def test_the_candidates_answers_come_from_its_trial_alone(audit: pd.DataFrame) -> None:
    rows = pd.concat(
        [audit[["sample_id"]].assign(shift=s, predicted=audit["label"]) for s in SHIFTS]
    )
    predictions = pd.concat(
        [rows.assign(trial_id="t"), rows.assign(trial_id="u", predicted=1)], ignore_index=True
    )
    shuffled, given = predictions.sample(frac=1, random_state=0), {"shifts": SHIFTS, "cells": ()}
    mixed = audit.sample(frac=1, random_state=1)
    found = candidate_baseline("t", shuffled, rows, audit=mixed, **given)
    np.testing.assert_array_equal(found.answers["noise"], audit["label"])
    assert found.audit_hash == audit_hash(audit["content_hash"])
    assert candidate_baseline(None, predictions, rows, audit=audit, **given) == Baseline()
    with pytest.raises(InputError, match="no answer for 1 audit images under shift 'clean'"):
        candidate_baseline("t", predictions.iloc[1:], rows, audit=audit, **given)
