import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images import encode_labels


def encode(labels, classes):
    names = [f"image {row}" for row in range(len(labels))]
    return encode_labels(pd.DataFrame({"label": labels, "name": names}), tuple(classes)).tolist()


def test_texts_are_names_and_whole_numbers_are_indices():
    assert encode(["b", "a"], "ab") == [1, 0]
    assert encode([1, 0, 1], "ab") == encode([1.0, 0.0, 1.0], "ab") == [1, 0, 1]
    assert encode(np.array([1, 0], np.uint8), "ab") == [1, 0]
    assert encode(["0", "1"], "01") == encode([0, 1], "01") == [0, 1]
    assert encode([True, False], ["False", "True"]) == [1, 0]


def test_numbers_are_names_where_they_can_be_nothing_else():
    assert encode([3, 7, 5], "357") == encode([3.0, 7.0, 5.0], "357") == [0, 2, 1]
    # A folder '10' is the class of that name, wherever sorting puts it.
    assert encode(["10", "2"], ["0", "1", "10", "2"]) == [2, 3]
    with pytest.raises(InputError, match="label '2' of 'image 0' is outside"):
        encode(["2"], "abc")


def test_a_number_that_can_mean_two_classes_is_refused():
    with pytest.raises(InputError, match="label 1 can mean class number 1, '0', or"):
        encode([1, 0], ["1", "0"])


def test_the_name_of_two_classes_is_refused_and_their_numbers_are_not():
    classes = ["crane", "x", "crane"]
    assert encode([0, 1, 2], classes) == [0, 1, 2]
    assert encode(["x"], classes) == [1]
    with pytest.raises(InputError, match="'crane' is the name of 2 classes"):
        encode(["x", "crane"], classes)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["Cat", "dog"], r"label 'Cat' of 'image 0' .* \(it has 'cat'\)"),
        (["dog", "cafe\u0301"], r"\(it has 'caf\u00e9'\)"),
        (["dog", " cat"], r"\(it has 'cat'\)"),
        ([0, 12], r"label '12' of 'image 1' is outside the model's 3 classes"),
        ([0, 1.5], r"label '1\.5' of 'image 1'"),
        ([0, -1], r"label '-1'"),
        ([0, np.inf], "label 'inf'"),
        (["dog", None], r"'image 1' has no label \(1 such"),
        ([0.0, np.nan], "'image 1' has no label"),
    ],
)
def test_other_labels_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        encode(labels, ["cat", "dog", "caf\u00e9"])
