"""The scenes of the detection study: exact boxes, and the same scene beside any other."""

import numpy as np
import pytest
from detector import Objects, targets

from ptq_pipeline.images.scenes import INK, compose
from ptq_pipeline.tasks.decoders import CentreStride


@pytest.fixture(scope="module")
def garments():
    generator = np.random.default_rng(0)
    made = np.zeros((5, 28, 28), dtype=np.uint8)
    for each in made:
        top, left = generator.integers(2, 8, size=2)
        each[top:-top, left:-left] = 255
    return made, np.arange(5)


def test_a_box_is_that_of_its_pixels(garments):
    made, labels = garments
    scenes = compose(made, labels, count=30, seed=3)
    alone = [
        each
        for each in scenes.document["annotations"]
        if sum(one["image_id"] == each["image_id"] for one in scenes.document["annotations"]) == 1
        and scenes.document["images"][each["image_id"] - 1]["scraps"] == "few"
        and each["light"] == "bright"
    ]
    assert alone
    for each in alone:
        x, y, width, height = each["bbox"]
        inside = scenes.images[each["image_id"] - 1, 0, y : y + height, x : x + width]
        # Every side touches the garment, whose rim is resized and at least INK before it is dimmed.
        for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert edge.max() > 0.7 * INK


def test_a_scene_is_the_same_beside_any_other(garments):
    few, many = (compose(*garments, count=count, seed=5) for count in (2, 6))
    np.testing.assert_array_equal(few.images, many.images[:2])
    other = compose(*garments, count=2, seed=6)
    assert (few.images != other.images).any()


def test_places_find_what_their_boxes_decode_to():
    decoder = CentreStride(classes=2, height=64, width=64)
    found = Objects(np.array([[8, 8, 40, 48], [16, 16, 30, 30]], np.float32), np.array([0, 1]))
    wanted, corners = targets(found, decoder)
    assert set(wanted.tolist()) == {-1, 0, 1}
    places = decoder.places()
    output = np.full((1, len(places), 6), -20, dtype=np.float32)
    for place in np.flatnonzero(wanted >= 0):
        x, y, stride = places[place]
        left, top, right, bottom = corners[place]
        output[0, place, :4] = np.log(np.array([x - left, y - top, right - x, bottom - y]) / stride)
        output[0, place, 4 + wanted[place]] = 4.0
    decoded = decoder(output)
    order = decoded.boxes.category.argsort()
    np.testing.assert_allclose(decoded.boxes.corners[order], found.corners, atol=1e-4)
