import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.stress import SHIFTS, build_shift

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 1, 28, 28), dtype=np.uint8)
KEYS = np.arange(9, dtype=np.uint64) * 977
OPTIONS = {name: {"severity": 3} for name in SHIFTS} | {
    "clean": {},
    "gaussian_noise": {"sigma": 0.1},
    "image_size": {"scale": 0.7},
}


@pytest.mark.parametrize("name", SHIFTS)
@given(order=st.permutations(range(9)), cut=st.integers(1, 8))
@settings(max_examples=10, deadline=None)
def test_order_and_batches_play_no_part(name, order, cut):
    shift = build_shift(name, OPTIONS[name])
    whole = shift(IMAGES, KEYS)
    assert whole.shape == IMAGES.shape
    assert whole.dtype == np.uint8
    parts = [shift(IMAGES[rows], KEYS[rows]) for rows in (order[:cut], order[cut:])]
    np.testing.assert_array_equal(np.concatenate(parts), whole[list(order)])


def test_noise_has_the_asked_strength_and_depends_on_the_seed():
    grey = np.full((50, 1, 28, 28), 128, np.uint8)
    keys = np.arange(50, dtype=np.uint64)
    noisy = build_shift("strong", {"kind": "gaussian_noise", "sigma": 0.1})(grey, keys)
    assert noisy.std() == pytest.approx(25.5, rel=0.02)
    other = build_shift("gaussian_noise", {"sigma": 0.1, "seed": 1})(grey, keys)
    assert (noisy != other).mean() > 0.9


def test_image_size_blurs_but_keeps_flat_images():
    flat = np.full((2, 3, 20, 20), 77, np.uint8)
    shift = build_shift("image_size", {"scale": 0.5})
    np.testing.assert_array_equal(shift(flat, KEYS[:2]), flat)
    assert shift(IMAGES, KEYS).std() < 0.7 * IMAGES.std()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fog", {}, "kind 'fog' is unknown"),
        ("gaussian_noise", {"sigma": 0}, "sigma must be"),
        ("gaussian_noise", {"sgma": 0.1}, "sgma"),
        ("image_size", {"scale": 1.5}, "scale must be"),
    ],
)
def test_bad_options_are_named(name, options, message):
    with pytest.raises(InputError, match=message):
        build_shift(name, options)
