"""Sets larger than memory: what is in memory does not grow with the number of images."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ptq_pipeline.datasets.arrays import read_array, write_array
from ptq_pipeline.images.source import content_hashes, decode_source
from ptq_pipeline.models import FloatModel, Preprocessing
from ptq_pipeline.profiling.features import (
    fit_projection,
    image_features,
    model_features,
    profile_and_fit,
)
from ptq_pipeline.stress import apply_shift, build_shift

SIDE, COUNT = 96, 5000
TOTAL = COUNT * 3 * SIDE * SIDE
MEGABYTE = 2**20


class Drawn:
    """An image source that draws an image whenever it is asked for."""

    def __init__(self, count):
        self.table = pd.DataFrame({"name": [f"image {k}" for k in range(count)], "label": "a"})
        self.splits = [{"pool": 1}]
        self.shape = (3, SIDE, SIDE)

    def read(self, position):
        return np.random.default_rng(position).integers(0, 256, self.shape, np.uint8)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 64, 8, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(64, 10),
        ).eval().requires_grad_(False)  # fmt: skip
    return FloatModel(network, Preprocessing((0.5,) * 3, (0.3,) * 3), tuple("abcdefghij"), "f")


def peak(folder, model, count):
    """Bytes that Python and NumPy held at most on the way of ``count`` images.

    Maps of files are not counted: the system drops their pages when memory is short.
    """
    tracemalloc.start()
    decoded = decode_source(Drawn(count))
    write_array(folder / "images.npy", decoded.images)
    images = read_array(folder / "images.npy")
    hashes = content_hashes(images)
    profiles, _ = profile_and_fit(images, model, np.arange(count) % 5 == 0)
    shift = build_shift("brightness", {"severity": 3})
    keys = np.arange(count, dtype=np.uint64)
    shifted = apply_shift("brightness", shift, images, keys, block_bytes=MEGABYTE)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(hashes)) == len(profiles) == len(shifted) == count
    return held


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, model):
    peak(tmp_path, model, 200)  # imports
    half, whole = peak(tmp_path, model, COUNT // 2), peak(tmp_path, model, COUNT)
    assert TOTAL > 120 * MEGABYTE
    assert whole < 40 * MEGABYTE
    assert whole < half + 4 * MEGABYTE


def test_blocks_change_no_result(model):
    images = np.stack([Drawn(300).read(k) for k in range(300)])
    reference = np.arange(300) % 3 == 0
    profiles, projection = profile_and_fit(images, model, reference)
    with torch.inference_mode():
        inputs = torch.from_numpy(model.preprocessing(images))
        features = model.module[:-1](inputs).numpy()
        logits = model.module(inputs).numpy()
    whole = fit_projection(features[reference])
    np.testing.assert_allclose(projection.components, whole.components, atol=1e-4)
    columns = [image_features(images, 300), model_features(logits, features, projection)]
    pd.testing.assert_frame_equal(profiles, pd.concat(columns, axis=1), atol=1e-5)
    keys = np.arange(300, dtype=np.uint64)
    for kind, options in (
        ("gaussian_noise", {"severity": 3, "seed": 1}),
        ("jpeg", {"severity": 3}),
    ):
        shift = build_shift(kind, options)
        rows = np.arange(299, -1, -2)
        blocks = apply_shift(kind, shift, images, keys[rows], rows, block_bytes=MEGABYTE)
        assert isinstance(blocks, np.memmap)
        assert np.array_equal(blocks, apply_shift(kind, shift, images[rows], keys[rows]))
