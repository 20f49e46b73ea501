import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.errors import InputError
from ptq_pipeline.reliability import build_groups, clustered_groups

CLASSES = ("boot", "bag")
SEGMENTS = {"tone": ("dark", "light")}


@pytest.fixture
def samples():
    return pd.DataFrame(
        {
            "sample_id": [7, 3, 5, 1, 9, 11, 13, 15, 17],
            "split": ["audit"] * 6 + ["selection"] * 2 + ["pool"],
            "label": [0, 0, 0, 1, 1, 1, 0, 0, 1],
            "tone": ["dark", "dark", "light", "light", "light", "missing", "dark", "dark", "x"],
        }
    )


def test_counts_by_level_and_empty_groups_are_missing(samples):
    counts = build_groups(samples, CLASSES, SEGMENTS).counts("audit")
    found = {(level, group): n for level, group, n in counts.itertuples(index=False)}
    assert found == {
        ("average", "all"): 6,
        ("class", "boot"): 3,
        ("class", "bag"): 3,
        ("segment", "tone=dark"): 2,
        ("segment", "tone=light"): 3,
        ("intersection", "boot & tone=dark"): 2,
        ("intersection", "boot & tone=light"): 1,
        ("intersection", "bag & tone=light"): 2,
    }


def test_small_intersections_are_left_out_by_audit_count(samples):
    groups = build_groups(samples, CLASSES, SEGMENTS, intersection_min_size=2)
    assert groups.by_level()["intersection"] == ["boot & tone=dark", "bag & tone=light"]
    assert groups.counts("selection")["n"].tolist() == [2, 2, 2, 2]


def test_intersections_can_be_turned_off(samples):
    assert (
        "intersection"
        not in build_groups(samples, CLASSES, SEGMENTS, intersections=False).by_level()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": [0, 0, 0, 1, 1, 2, 0, 0, 1]}, "label 2 is outside the model's 2 classes"),
        ({"tone": ["dark"] * 5 + ["grey"] + ["dark"] * 3}, "'tone' holds 'grey'"),
        (
            {"tone": ["dark"] * 5 + ["light"] + ["dark"] * 3},
            "segment 'tone=light' has one sample in split 'audit'",
        ),
        (
            {"label": [0, 0, 0, 0, 0, 1, 0, 0, 1]},
            "class 'bag' has one sample in split 'audit'",
        ),
    ],
)
def test_bad_samples_are_named(samples, change, message):
    with pytest.raises(InputError, match=message):
        build_groups(samples.assign(**change), CLASSES, SEGMENTS)


def test_missing_segment_column_is_named(samples):
    with pytest.raises(InputError, match="column 'tone' is missing"):
        build_groups(samples.drop(columns="tone"), CLASSES, SEGMENTS)


def test_clusters_are_found_where_they_repeat(samples):
    groups = build_groups(samples, CLASSES, SEGMENTS)
    assert clustered_groups(samples, groups) == frozenset()
    users = samples.assign(cluster=["a", "b", "c", "d", "d", "e", "f", "f", "g"])
    # Samples 1 and 9: bags in light tones. Sample 13 and 15 are no audit samples.
    assert clustered_groups(users, groups) == {
        ("average", "all"),
        ("class", "bag"),
        ("segment", "tone=light"),
        ("intersection", "bag & tone=light"),
    }


def test_samples_are_in_order_of_their_ids(samples):
    groups = build_groups(samples, CLASSES, SEGMENTS)
    assert np.all(np.diff(groups.sample_ids) > 0)
    assert groups.labels[groups.sample_ids == 3] == 0
