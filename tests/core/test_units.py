"""What can be right or wrong on images with annotated objects."""

import json

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.grouping import SubgroupScoringParameters
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.core.tally import tally
from ptq_pipeline.core.units import NO_CLASS, object_position, units_of

CLASSES = ("hat", "shoe")


def objects(*labels, **more):
    return json.dumps(
        [
            {"bbox": [i, 0, 5, 5], "label": label, "columns": {"size": "small"}, **more}
            for i, label in enumerate(labels)
        ]
    )


@pytest.fixture
def samples():
    on_images = [objects(0, 1), objects(), objects(1, iscrowd=1), objects(1)]
    return pd.DataFrame(
        {
            "sample_id": [3, 5, 8, 9],
            "split": ["selection", "audit", "audit", "audit"],
            "label": [0, NO_CLASS, NO_CLASS, 1],
            "content_hash": list("abcd"),
            "tone": ["dark", "dark", "light", "light"],
            "objects": on_images,
        }
    )


def test_images_without_the_column_are_their_own_units(samples):
    plain = samples.drop(columns="objects")
    assert units_of(plain, CLASSES, 3) is plain


def test_units_are_counted_objects_in_the_order_of_images(samples):
    found = units_of(samples)
    assert found["image"].tolist() == [3, 3, 9]
    assert found["label"].tolist() == [0, 1, 1]
    assert found["cluster"].tolist() == ["a", "a", "d"]
    assert found["tone"].tolist() == ["dark", "dark", "light"]
    assert [object_position(each) for each in found["sample_id"]] == [0, 1, 0]
    assert found["content_hash"].is_unique


def test_a_unit_has_the_same_number_beside_any_other_images(samples):
    every = units_of(samples, CLASSES, 3).set_index("sample_id")["content_hash"]
    some = units_of(samples.iloc[2:], CLASSES, 3).set_index("sample_id")["content_hash"]
    assert every.loc[some.index].equals(some)


def test_alarms_are_counted_on_every_image_and_class(samples):
    found = units_of(samples, CLASSES, 3)
    alarms = found[found["label"] == NO_CLASS]
    assert len(alarms) == 4 * 2
    assert alarms["false_alarms"].tolist() == [*CLASSES] * 4
    # They are in no group of objects.
    assert alarms[["tone", "size"]].isna().all(axis=None)
    assert found["sample_id"].is_monotonic_increasing


def test_both_kinds_are_scored_side_by_side(samples):
    definitions = GroupDefinitions(
        classes=CLASSES, segments={}, objects={"size": {"names": ["small"]}}, alarms=2
    )
    scoring = SubgroupScoringParameters(intersection_min_size=1)
    groups = scoring.build(samples, definitions)
    ids = groups.sample_ids
    units = units_of(samples, CLASSES, 2)
    quiet = np.where(groups.labels == NO_CLASS, 0, groups.labels)
    lost = quiet.copy()
    # The shoe of image 9 is not found, and image 5 has three alarms of hats, of which two count.
    lost[(units["image"] == 9) & (units["label"] == 1)] = len(CLASSES)
    lost[(units["image"] == 5) & (units["false_alarms"] == "hat")] = 3
    tables = [
        pd.DataFrame({"shift": "clean", "sample_id": ids, "predicted": each})
        for each in (quiet, lost)
    ]
    scores = tally(Outcomes.pair(tables[1].assign(trial_id="t"), tables[0], groups))
    audit = scores[scores["split"] == "audit"].set_index(["level", "group"])
    assert audit.loc[("average", "all"), ["n", "lost"]].tolist() == [1, 1]
    assert audit.loc[("class", "shoe"), "drop"] == 1.0
    assert audit.loc[("segment", "false_alarms=hat"), "n"] == 3
    assert audit.loc[("segment", "false_alarms=hat"), "drop"] == pytest.approx(1 / 3)
    assert audit.loc[("segment", "false_alarms=shoe"), "drop"] == 0.0
    assert audit.loc[("segment", "size=small"), "n"] == 1
