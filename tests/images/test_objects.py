"""From the objects of a source to those of samples."""

import json

import pandas as pd
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.units import NO_CLASS
from ptq_pipeline.images.objects import check_classes, encode_objects, image_labels, objects_table

CLASSES = ("cat", "dog")


def table(*images):
    objects = [
        [{"label": name, "bbox": [0, 0, 3, 3], "columns": {"coat": name[0]}} for name in names]
        for names in images
    ]
    return pd.DataFrame({"objects": objects})


def test_an_images_class_is_that_of_its_rarest_object():
    found = image_labels(table(("dog", "dog", "cat"), ("dog",), ()), CLASSES)
    assert found.tolist() == [0, 1, NO_CLASS]


def test_what_is_neither_found_nor_lost_is_no_class_of_an_image():
    crowd = table(("dog",))
    crowd["objects"][0][0]["iscrowd"] = 1
    assert image_labels(crowd, CLASSES).tolist() == [NO_CLASS]


def test_objects_are_written_with_class_numbers_and_groups():
    made = table(("dog", "cat"), ())
    own = objects_table(made)
    assert own["image"].tolist() == [0, 0]
    first, second = encode_objects(made, CLASSES, {"coat": own["coat"]})
    assert [(each["label"], each["columns"]) for each in json.loads(first)] == [
        (1, {"coat": "d"}),
        (0, {"coat": "c"}),
    ]
    assert json.loads(second) == []


def test_classes_are_matched_by_name_and_unknown_ones_are_named():
    check_classes(table(("dog",), ("cat",)), ("dog", "cat"))
    with pytest.raises(InputError, match=r"category 'Dog' of 1 .* \(it has 'dog'\)"):
        check_classes(table(("Dog",)), CLASSES)
    with pytest.raises(InputError, match="no image has an annotated object"):
        check_classes(table((), ()), CLASSES)


def test_an_objects_own_column_may_not_be_called_as_one_of_ours():
    made = table(("dog",))
    made["objects"][0][0]["columns"] = {"split": "a"}
    with pytest.raises(InputError, match="column 'split'"):
        objects_table(made)
