import pytest
from pydantic import ValidationError

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.policy import Policy

LIMITS = {
    "average": {"points": 1.0},
    "class": {"points": 4.0, "shifts": {"noise": 6.0}},
    "segment": {"points": 2.5},
    "intersection": {"points": 10.0, "min_size": 130},
}
GROUPS = {"average": ["all"], "class": ["Sandal", "Bag"], "segment": ["tone=dark"]}


def build(**changes):
    return Policy.model_validate({"limits": LIMITS, **changes})


def test_limits_are_fractions_by_level_and_shift():
    policy = build()
    assert policy.limit("class", "Bag", "clean") == pytest.approx(0.04)
    assert policy.limit("class", "Bag", "noise") == pytest.approx(0.06)
    assert policy.strictest_limit("class", "Bag", ["clean", "noise"]) == pytest.approx(0.04)


def test_critical_group_has_its_own_limits():
    policy = build(
        critical=[{"level": "class", "group": "Sandal", "points": 3, "shifts": {"noise": 5}}]
    )
    assert policy.limit("class", "Sandal", "clean") == pytest.approx(0.03)
    assert policy.limit("class", "Sandal", "noise") == pytest.approx(0.05)
    assert policy.limit("class", "Bag", "noise") == pytest.approx(0.06)
    assert policy.is_critical("class", "Sandal") and not policy.is_critical("class", "Bag")


def test_json_round_trip_keeps_policy_and_hash():
    policy = build(critical=[{"level": "class", "group": "Sandal"}])
    again = Policy.model_validate(policy.to_json())
    assert again == policy
    assert again.hash == policy.hash
    assert build(alpha=0.04).hash != policy.hash


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alhpa": 0.05}, "alhpa"),
        ({"alpha": 0.0}, "alpha"),
        ({"draws": 0}, "draws"),
        ({"limits": {**LIMITS, "class": {"points": 0}}}, "points"),
        ({"critical": [{"level": "kind", "group": "x"}]}, "level"),
        ({"critical": [{"level": "class", "group": "Sandal"}] * 2}, "named twice"),
        ({"critical": [{"level": "class", "group": "Sandal", "points": 5}]}, "looser than the 4"),
        (
            {"critical": [{"level": "class", "group": "Bag", "shifts": {"noise": 7}}]},
            "looser than the 6",
        ),
    ],
)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        build(**changes)


def test_unknown_shift_and_group_are_named():
    policy = build(critical=[{"level": "class", "group": "Sandals"}])
    with pytest.raises(InputError, match="unknown shift 'noise'.*'clean'"):
        policy.check_names(GROUPS, ["clean"])
    with pytest.raises(InputError, match="critical: there is no class 'Sandals'.*'Sandal'"):
        policy.check_names(GROUPS, ["clean", "noise"])
    build().check_names(GROUPS, ["clean", "noise"])


@pytest.mark.parametrize(
    ("average", "message"),
    [
        ({"points": 4.5}, "the average may lose 4.5 points, but no class more than 4;"),
        ({"points": 1.0, "shifts": {"noise": 7}}, "7 points under noise, but no class more than 6"),
    ],
)
def test_an_average_looser_than_every_class_is_refused(average, message):
    with pytest.raises(ValidationError, match=f"limits contradict each other: .*{message}"):
        build(limits={**LIMITS, "average": average})
    build(limits={**LIMITS, "average": {"points": 4.0, "shifts": {"noise": 6}}})


def test_obligations_whose_names_would_be_equal_are_refused():
    owed = {"to": "ACME", "notice_required": True}
    first = {**owed, "level": "class", "group": "x y", "shifts": ["z"]}
    second = {**owed, "level": "class", "group": "x", "shifts": ["y z"]}
    with pytest.raises(ValidationError, match="both called 'ACME: notice_required class x y z'"):
        build(obligations=[first, second])
    build(obligations=[first, {**second, "to": "Globex"}])


def test_a_shift_may_not_be_called_like_the_value_of_a_control_column():
    with pytest.raises(InputError, match="both called 'camera=night'"):
        build().check_names(GROUPS, ["clean", "noise", "camera=night", "camera=night"])
