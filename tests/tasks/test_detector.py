"""A detector's answers: in the order of units, and the same as matching says."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.units import NO_CLASS
from ptq_pipeline.tasks.coco import Boxes, Detections
from ptq_pipeline.tasks.detection import match
from ptq_pipeline.tasks.detector import Batch, Detection, annotations_of, joined

CLASSES = ("cat", "dog", "owl")
SETTINGS = {"decoder": {"kind": "end_to_end"}, "score": 0.4}


def random_images(generator, count=6):
    texts = []
    for _ in range(count):
        made = [
            {
                "bbox": [*generator.integers(0, 40, 2).tolist(), 20, 20],
                "label": int(generator.integers(3)),
                "ignore": int(generator.random() < 0.2),
            }
            for _ in range(generator.integers(4))
        ]
        texts.append(json.dumps(made))
    return pd.DataFrame(
        {
            "sample_id": np.arange(count) * 2,
            "split": "audit",
            "label": 0,
            "content_hash": [f"{i:x}" for i in range(count)],
            "objects": texts,
        }
    )


def random_batch(generator, images):
    """Boxes near those of the objects, and some anywhere."""
    rows = []
    for place, text in enumerate(images["objects"]):
        for each in json.loads(text):
            moved = np.array(each["bbox"], float) + generator.integers(-4, 5, 4)
            rows.append((place, each["label"], moved, generator.random()))
        anywhere = np.array([*generator.integers(0, 40, 2), 20, 20], float)
        rows.append((place, int(generator.integers(3)), anywhere, generator.random()))
    sides = np.array([row[2] for row in rows])
    corners = np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], axis=1)
    boxes = Boxes(*(np.array([row[i] for row in rows]) for i in (0, 1)), corners)
    return Batch(Detections(boxes, np.array([row[3] for row in rows])), len(images))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), cap=st.sampled_from([None, 1, 3]))
def test_answers_stand_in_the_order_of_units(seed, cap):
    generator = np.random.default_rng(seed)
    images = random_images(generator)
    task = Detection.of(CLASSES, {**SETTINGS, "alarms": cap})
    batch = random_batch(generator, images)
    units, answers = task.units(images), task.answers([batch], task.truth(images))
    assert len(units) == len(answers)
    annotations = annotations_of(images, CLASSES)
    matches = match(annotations, batch.found, task.matching)
    objects = (units["label"] != NO_CLASS).to_numpy()
    found = answers[objects] == units["label"].to_numpy()[objects]
    np.testing.assert_array_equal(found, matches.found[~annotations.ignored])
    assert set(answers[objects][~found]) <= {len(CLASSES)}
    if cap is not None:
        alarms = answers[~objects].reshape(len(images), len(CLASSES))
        np.testing.assert_array_equal(alarms, np.minimum(matches.alarms, cap))
        places = images["sample_id"].to_numpy()
        np.testing.assert_array_equal(units["image"][~objects], np.repeat(places, len(CLASSES)))


def test_batches_are_one_after_the_other():
    generator = np.random.default_rng(3)
    images = random_images(generator, 8)
    parts = [random_batch(generator, images.iloc[rows]) for rows in (slice(3), slice(3, 8))]
    task = Detection.of(CLASSES, SETTINGS)
    whole = task.answers([Batch(joined(parts), 8)], task.truth(images))
    np.testing.assert_array_equal(task.answers(parts, task.truth(images)), whole)
    alone = task.answers([parts[1]], task.truth(images.iloc[3:]))
    np.testing.assert_array_equal(whole[-len(alone) :], alone)


def test_the_operating_decoder_finds_what_the_whole_one_finds_above_the_threshold():
    generator = np.random.default_rng(1)
    decoder = {"kind": "centre_stride", "height": 32, "width": 32, "strides": [8]}
    task = Detection.of(CLASSES, {"decoder": decoder, "score": 0.3})
    output = generator.normal(size=(4, 16, 7)).astype(np.float32)
    every, some = task.decoder(output), task.operating(output)
    kept = every.score >= 0.3
    assert kept.any()
    np.testing.assert_array_equal(every.boxes.corners[kept], some.boxes.corners)
    np.testing.assert_array_equal(every.score[kept], some.score)


def test_an_image_without_a_box_has_a_profile():
    task = Detection.of(CLASSES, SETTINGS)
    output = np.zeros((2, 1, 6), np.float32)
    output[0, 0] = [1, 1, 9, 9, 0.7, 2]
    found = task.profile(output)
    assert found["predicted"].tolist() == [2, -1]
    assert found["confidence"].tolist() == pytest.approx([0.7, 0.0])
    assert found["margin"].tolist() == pytest.approx([0.3, 0.4])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threshold": 0.4}, "no setting 'threshold'"),
        ({"decoder": None}, "'decoder' says what makes boxes"),
        ({"decoder": {"kind": "yolo", "anchors": 3}}, "decoder 'yolo' does not take"),
        ({"decoder": {"kind": "resnet18", "size": [8, 8]}}, "no detector 'resnet18'"),
        ({"score": 1.5}, "the operating threshold is within"),
        ({"alarms": 0}, "at least 1, or null"),
    ],
)
def test_settings_that_cannot_be(change, said):
    with pytest.raises(InputError, match=said):
        Detection.of(CLASSES, {**SETTINGS, **change})
