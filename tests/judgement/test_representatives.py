import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement import Policy, keep_groups, propose_representatives

CLASSES, SEGMENTS = ("boot", "bag", "hat"), {"tone": ("dark", "light")}


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
    return propose_representatives(*tables, CLASSES, SEGMENTS, policy)


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
