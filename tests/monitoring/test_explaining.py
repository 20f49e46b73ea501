import numpy as np
import pandas as pd
import pytest
import torch

from ptq_pipeline.models import Preprocessing
from ptq_pipeline.monitoring.explaining import explain, nearest
from ptq_pipeline.ptq import MethodSpec, prepare, quantize_model


@pytest.fixture(scope="module")
def prepared():
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(),
        torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(4 * 64, 3),
    )  # fmt: skip
    return prepare(module.eval(), torch.zeros(2, 1, 8, 8))


def test_a_group_brighter_than_the_calibration_is_cut_off_and_errs_more(prepared):
    rng = np.random.default_rng(0)
    dark = rng.integers(0, 100, (40, 1, 8, 8), np.uint8)
    bright = rng.integers(150, 256, (20, 1, 8, 8), np.uint8)
    preprocessing = Preprocessing((0.2,), (0.2,))
    batches = [torch.from_numpy(preprocessing(dark))]
    parameters = quantize_model(prepared, batches, MethodSpec(8, 8), seed=0)
    found = explain(prepared, parameters, bright, dark, preprocessing)
    first = found.layers.set_index("layer").loc["0"]
    assert first["clip_group"] > 0.9
    assert first["clip_all"] < 0.1
    assert first["error_group"] > 10 * first["error_all"]
    assert found.layers["error_group"].is_monotonic_decreasing
    assert (found.images, found.others) == (20, 40)


def test_the_nearest_images_are_those_like_the_group():
    features = np.array([[0, 0], [10, 1], [9, 1], [0, 1], [11, 1]], float)
    found = nearest(features, np.array([1]), np.array([0, 2, 3, 4]), 2)
    assert sorted(found) == [2, 4]


def test_the_error_does_not_depend_on_the_threads_of_the_process(prepared):
    images = np.random.default_rng(1).integers(0, 256, (64, 1, 8, 8), np.uint8)
    preprocessing = Preprocessing((0.2,), (0.2,))
    batches = [torch.from_numpy(preprocessing(images))]
    parameters = quantize_model(prepared, batches, MethodSpec(3, 3), seed=0)
    threads, tables = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            tables.append(explain(prepared, parameters, images, images, preprocessing).layers)
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    pd.testing.assert_frame_equal(*tables, check_exact=True)
