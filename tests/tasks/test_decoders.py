"""Decoders: boxes come back where they were put, and a wrong shape is one sentence."""

import numpy as np
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.tasks.decoders import CentreStride, EndToEnd, Yolo

# Left, top, right, bottom, class.
BOXES = [([4.0, 6.0, 20.0, 30.0], 1), ([33.0, 1.0, 60.0, 25.0], 0)]


def _logit(probability):
    return float(np.log(probability / (1 - probability)))


def _centre_stride(decoder):
    """The output that says BOXES, each from the place nearest to its centre."""
    places = decoder.places()
    output = np.full((1, len(places), 4 + decoder.classes), -20, dtype=np.float32)
    for box, category in BOXES:
        centre = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
        place = int(np.abs(places[:, :2] - centre).sum(1).argmin())
        x, y, stride = places[place]
        far = np.array([x - box[0], y - box[1], box[2] - x, box[3] - y])
        output[0, place, :4] = np.log(far / stride)
        output[0, place, 4 + category] = _logit(0.9)
    return output


def _yolo(decoder):
    output = np.zeros((1, 4 + decoder.classes, 50), dtype=np.float32)
    for place, (box, category) in enumerate(BOXES):
        output[0, :4, 7 * place] = [
            *[(box[0] + box[2]) / 2, (box[1] + box[3]) / 2],
            *[box[2] - box[0], box[3] - box[1]],
        ]
        output[0, 4 + category, 7 * place] = 0.9
    return output


def _end_to_end(_):
    rows = [[*box, 0.9, category] for box, category in BOXES]
    return np.array([[*rows, [0, 0, 5, 5, 0.01, 1]]], dtype=np.float32)


@pytest.mark.parametrize(
    ("decoder", "say"),
    [
        (CentreStride(classes=3, height=40, width=64, strides=(8, 16)), _centre_stride),
        (Yolo(classes=3), _yolo),
        (EndToEnd(classes=3), _end_to_end),
    ],
)
def test_boxes_come_back(decoder, say):
    # The second image says the same, so that images are numbered.
    found = decoder(np.concatenate([say(decoder)] * 2))
    order = np.lexsort((found.boxes.category, found.boxes.image))
    assert found.boxes.image[order].tolist() == [0, 0, 1, 1]
    assert found.boxes.category[order].tolist() == [0, 1, 0, 1]
    expected = [BOXES[1][0], BOXES[0][0]] * 2
    np.testing.assert_allclose(found.boxes.corners[order], expected, atol=1e-4)
    np.testing.assert_allclose(found.score, 0.9, rtol=1e-6)


def test_the_weaker_of_two_boxes_of_a_class_is_dropped():
    decoder = Yolo(classes=2)
    output = np.zeros((1, 6, 3), dtype=np.float32)
    output[0, :4] = np.array([[10, 10, 8, 8], [11, 10, 8, 8], [11, 10, 8, 8]]).T
    output[0, 4, :2] = [0.8, 0.9]
    output[0, 5, 2] = 0.3
    found = decoder(output)
    assert sorted(zip(found.boxes.category, found.score.round(3), strict=True)) == [
        (0, 0.9),
        (1, 0.3),
    ]


def test_a_detector_that_finds_nothing_finds_nothing():
    found = Yolo(classes=2)(np.zeros((3, 6, 9), dtype=np.float32))
    assert len(found.boxes) == len(found.score) == 0
    assert found.boxes.corners.shape == (0, 4)


@pytest.mark.parametrize(
    ("decoder", "output", "said"),
    [
        (Yolo(classes=2), np.zeros((1, 7, 9)), r"Yolo of 2 classes reads \(images, 6, any\)"),
        (
            CentreStride(classes=2, height=8, width=32),
            np.zeros((1, 5, 6)),
            r"reads \(images, 4, 6\)",
        ),
        (EndToEnd(classes=2), np.zeros((1, 5)), r"reads \(images, any, 6\)"),
        (Yolo(classes=2), np.full((1, 6, 9), np.nan), "not finite"),
        (EndToEnd(classes=2), np.full((1, 1, 6), 5.0), "finds class 5, and there are 2"),
    ],
)
def test_an_output_that_does_not_fit(decoder, output, said):
    with pytest.raises(InputError, match=said):
        decoder(output.astype(np.float32))
