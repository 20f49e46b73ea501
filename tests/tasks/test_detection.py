"""Matching equals pycocotools object by object; outcomes are rows that the judge reads."""

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.tasks.average_precision import average_precision
from ptq_pipeline.tasks.coco import read_annotations, read_detections
from ptq_pipeline.tasks.detection import Matching, alarm_outcomes, match, object_outcomes

SIDE = 64
# Quarters, so that sums and products are exact and ties are ties in both programs.
QUARTER = st.integers(0, 4 * SIDE).map(lambda value: value / 4)
BOX = st.tuples(QUARTER, QUARTER, QUARTER, QUARTER).map(
    lambda box: [box[0], box[1], max(box[2] / 2, 0.25), max(box[3] / 2, 0.25)]
)


@st.composite
def scenes(draw):
    """Objects and detections near them, on up to three images, of two classes."""
    objects, found = [], []
    for image in range(1, 1 + draw(st.integers(1, 3))):
        for left, top, width, height in draw(st.lists(BOX, max_size=6)):
            box = [min(left, SIDE - 0.25), min(top, SIDE - 0.25), width, height]
            category, crowd = draw(st.integers(1, 2)), draw(st.booleans()) and draw(st.booleans())
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": image,
                    "category_id": category,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": int(crowd),
                }
            )
            for _ in range(draw(st.integers(0, 3))):
                moved = [value + draw(st.integers(-8, 8)) / 4 for value in box]
                moved[2:] = [max(value, 0.25) for value in moved[2:]]
                found.append(_detection(draw, image, category, moved))
        for box in draw(st.lists(BOX, max_size=3)):
            found.append(_detection(draw, image, draw(st.integers(1, 2)), box))
    return _document(objects, images=3), found


def _detection(draw, image, category, box):
    score = draw(st.integers(0, 8)) / 8
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def _document(objects, images=1):
    return {
        "images": [{"id": each + 1, "width": SIDE, "height": SIDE} for each in range(images)],
        "categories": [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}],
        "annotations": objects,
    }


def _object(place, box, category=1, image=1, **more):
    return {"id": place, "image_id": image, "category_id": category, "bbox": box, **more}


def _found(box, category=1, image=1, score=0.9):
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def _read(folder, document, found):
    (folder / "objects.json").write_text(json.dumps(document))
    (folder / "found.json").write_text(json.dumps(found))
    annotations = read_annotations(folder / "objects.json")
    return annotations, read_detections(folder / "found.json", annotations)


def _theirs(document, found, threshold):
    """Objects that pycocotools matches, and its unmatched detections, at 0.5 overlap."""
    kept = [each for each in found if each["score"] >= threshold]
    with contextlib.redirect_stdout(io.StringIO()):
        truth, results = COCO(), COCO()
        truth.dataset = document
        truth.createIndex()
        results.dataset = {
            **document,
            "annotations": [
                {**each, "id": place + 1, "area": each["bbox"][2] * each["bbox"][3], "iscrowd": 0}
                for place, each in enumerate(kept)
            ],
        }
        results.createIndex()
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
    taken, alarms = set(), 0
    for each in filter(None, evaluation.evalImgs):
        matched = each["dtMatches"][0].astype(int)
        taken |= set(matched[matched > 0].tolist())
        alarms += int((~(matched > 0) & ~each["dtIgnore"][0].astype(bool)).sum())
    return taken, alarms


def _twins():
    """Two objects with the same box, and one detection that can take either."""
    objects = [_object(each, [0, 0, 10, 10], area=100, iscrowd=0) for each in (1, 2)]
    return _document(objects, images=3), [_found([0, 0, 10, 10])]


@settings(max_examples=100, deadline=None)
@example(scene=_twins(), threshold=0.5)
@given(scene=scenes(), threshold=st.sampled_from([0.0, 0.25, 0.5]))
def test_objects_and_alarms_are_those_of_pycocotools(scene, threshold, tmp_path_factory):
    document, found = scene
    annotations, detections = _read(tmp_path_factory.mktemp("scene"), document, found)
    matches = match(annotations, detections, Matching(score=threshold))
    taken, alarms = _theirs(document, found, threshold)
    ours = annotations.objects["object_id"][matches.found].astype(int)
    assert set(ours) == taken
    assert matches.alarms.sum() == alarms


def test_an_object_is_one_row_and_its_image_the_cluster(tmp_path):
    document = _document(
        [
            _object(7, [0, 0, 10, 10], light="dim"),
            _object(8, [20, 20, 40, 40], category=2, light="bright"),
            _object(9, [0, 0, 30, 30], iscrowd=1, light="dim"),
        ]
    )
    document["images"][0] |= {"site": "north", "file_name": "one.jpg", "license": 3}
    annotations, one = _read(tmp_path, document, [_found([0, 0, 10, 10])])
    _, other = _read(tmp_path, document, [_found([20, 20, 40, 40], category=2)])
    rows = object_outcomes(
        annotations,
        match(annotations, one, Matching()),
        match(annotations, other, Matching()),
    )
    assert rows.to_dict("list") == {
        "unit_id": ["7", "8"],
        "sample_id": ["1", "1"],
        "cluster": ["1", "1"],
        "label": ["one", "two"],
        "size": ["small", "medium"],
        "site": ["north", "north"],
        "light": ["dim", "bright"],
        "float_ok": [1, 0],
        "quantized_ok": [0, 1],
    }


def test_false_alarms_of_an_image_count_up_to_a_cap(tmp_path):
    document = _document([_object(1, [0, 0, 10, 10])], images=2)
    far = [[40, 40, 5 + side, 5] for side in range(3)]
    annotations, quiet = _read(tmp_path, document, [_found([0, 0, 10, 10])])
    _, loud = _read(tmp_path, document, [_found(box, image=2) for box in far])
    rows = alarm_outcomes(
        annotations,
        match(annotations, quiet, Matching()),
        match(annotations, loud, Matching()),
        cap=2,
    )
    assert rows["unit_id"].tolist() == ["1/one", "1/two", "2/one", "2/two"]
    assert rows["float_ok"].tolist() == [1, 1, 1, 1]
    assert rows["quantized_ok"].tolist() == [1, 1, 0, 1]
    with pytest.raises(InputError, match="at least one false alarm"):
        alarm_outcomes(annotations, *[match(annotations, quiet, Matching())] * 2, cap=0)


def test_average_precision_is_that_of_coco(tmp_path):
    document = _document([_object(1, [0, 0, 10, 10]), _object(2, [30, 30, 10, 10])])
    # The first is found exactly, the second with an overlap of 0.6.
    annotations, detections = _read(
        tmp_path, document, [_found([0, 0, 10, 10]), _found([30, 30, 6, 10], score=0.8)]
    )
    table = average_precision(annotations, detections).set_index("class")
    assert table.loc["one", "ap50"] == pytest.approx(1.0)
    # Overlaps .50, .55 and .60 of ten count both objects, the others 51 of 101 recalls.
    assert table.loc["one", "ap"] == pytest.approx((3 + 7 * 51 / 101) / 10, abs=1e-9)
    assert np.isnan(table.loc["two", "ap50"])


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "holds a list"),
        ({"images": []}, "has no list 'annotations'"),
        (_document([_object(1, [0, 0, 10, 10], image=5)]), "'image_id' 5 is unknown"),
        (_document([_object(1, [0, 0, 10, 10], category=5)]), "'category_id' 5 is unknown"),
        (_document([_object(1, [0, 0, 9, 9]), _object(1, [0, 0, 9, 9])]), "1 is given twice"),
        (_document([_object(1, [0, 0, 10])]), "is not \\[x, y, width, height\\]"),
        (_document([_object(1, [0, 0, 10, "a"])]), "no finite number"),
        (_document([_object(1, [0, 0, 0, 10])]), "1 of 1 boxes cannot be used"),
        (_document([_object(1, [SIDE, 0, 5, 10])]), "1 of 1 boxes cannot be used"),
        ({**_document([]), "categories": []}, "no images or no categories"),
    ],
)
def test_annotations_that_cannot_be_used(document, said, tmp_path):
    (tmp_path / "objects.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=said):
        read_annotations(tmp_path / "objects.json")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, "holds no list"),
        ([_found([0, 0, 1, 1], score=1.5)], "1 of 1 scores are outside"),
        ([_found([0, 0, 1, 1], score="high")], "the first is high"),
        ([_found([0, 0, 1, 1], image=9)], "'image_id' 9 is unknown"),
        ([{"image_id": 1}], "'category_id' is missing"),
    ],
)
def test_detections_that_cannot_be_used(found, said, tmp_path):
    with pytest.raises(InputError, match=said):
        _read(tmp_path, _document([_object(1, [0, 0, 10, 10])]), found)


def test_a_few_boxes_without_an_area_are_named_and_ignored(tmp_path):
    objects = [_object(each, [0, 0, 10, 10]) for each in range(1, 200)]
    annotations, detections = _read(tmp_path, _document([*objects, _object(500, [0, 0, 0, 9])]), [])
    assert annotations.unusable == (
        "annotation 500 on image 1 has no area within the image (bbox [0, 0, 0, 9])",
    )
    rows = object_outcomes(annotations, *[match(annotations, detections, Matching())] * 2)
    assert rows["unit_id"].tolist() == [str(each) for each in range(1, 200)]


def test_a_file_that_is_not_there_or_no_json(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_annotations(tmp_path / "objects.json")
    (tmp_path / "objects.json").write_text("{")
    with pytest.raises(InputError, match="is no JSON"):
        read_annotations(tmp_path / "objects.json")


@pytest.mark.parametrize("value", [{"score": 1.1}, {"iou": 0.0}, {"most": 0}])
def test_a_matching_that_cannot_be(value):
    with pytest.raises(InputError, match=next(iter(value))):
        Matching(**value)
