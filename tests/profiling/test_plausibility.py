import numpy as np
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.profiling.plausibility import check_class_order, suspicion


def answers(classes, images, right=0.9, seed=0):
    """Labels, and the answers of a model that is right on a share of the images."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    return labels, np.where(rng.random(images) < right, labels, rng.integers(0, classes, images))


def names(classes):
    return tuple(f"c{number}" for number in range(classes))


def test_two_exchanged_classes_are_named():
    labels, predicted = answers(10, 2000)
    exchanged = np.arange(10)
    exchanged[[2, 5]] = [5, 2]
    with pytest.raises(InputError, match="output 2 is 'c5', not 'c2', output 5 is 'c2'"):
        check_class_order(labels, exchanged[predicted], names(10))


def test_two_classes_of_two_the_wrong_way_round_are_named():
    labels, predicted = answers(2, 200)
    with pytest.raises(InputError, match="output 0 is 'c1', not 'c0'"):
        check_class_order(labels, 1 - predicted, names(2))


def test_thousands_of_classes_in_another_order_are_found_in_seconds():
    labels, predicted = answers(3000, 30000)
    order = np.random.default_rng(1).permutation(3000)
    with pytest.raises(InputError, match=r"and 299\d more"):
        check_class_order(labels, order[predicted], names(3000))
    check_class_order(labels, predicted, names(3000))


@pytest.mark.parametrize("right", [0.0, 0.2, 0.5, 0.99])
@pytest.mark.parametrize(("classes", "images"), [(2, 300), (10, 500), (1000, 1000)])
def test_a_weak_model_is_not_taken_for_a_wrong_order(classes, images, right):
    check_class_order(*answers(classes, images, right), names(classes))


def test_two_classes_that_are_often_confused_are_no_wrong_order():
    labels, predicted = answers(10, 2000)
    sandals = (labels == 5) & (np.random.default_rng(1).random(2000) < 0.6)
    check_class_order(labels, np.where(sandals, 7, predicted), names(10))


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_chance_is_named_and_a_good_model_is_not(classes):
    assert "near the" in suspicion(*answers(classes, 5000, right=0))
    assert suspicion(*answers(classes, 5000, right=0.9)) is None


def test_always_the_frequent_class_is_chance():
    labels = (np.arange(1000) % 10 == 0).astype(int)
    assert "near the 90.0 % of chance" in suspicion(labels, np.zeros(1000, int))


def test_far_below_the_recorded_accuracy_is_named():
    labels, predicted = answers(10, 5000)
    assert "far below the 99.0 %" in suspicion(labels, predicted, 0.99)
    assert suspicion(labels, predicted, 0.92) is None
