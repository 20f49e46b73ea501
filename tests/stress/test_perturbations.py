import numpy as np
import pytest

from ptq_pipeline.errors import InputError
from ptq_pipeline.stress.perturbations import perturb

IMAGES = np.full((3, 1, 20, 20), 128, np.uint8)
KEYS = np.array([11, 12, 13], np.uint64)
NOISE = {"kind": "gaussian_noise", "sigma": 0.1, "seed": 7}


def test_empty_description_changes_nothing():
    assert perturb(IMAGES, KEYS, {}) is IMAGES


def test_noise_has_the_stated_size_and_follows_the_key():
    noisy = perturb(IMAGES, KEYS, NOISE)
    assert noisy.dtype == np.uint8
    assert (noisy.astype(float) - 128).std() == pytest.approx(25.5, rel=0.1)
    np.testing.assert_array_equal(perturb(IMAGES[::-1], KEYS[::-1], NOISE), noisy[::-1])
    assert not np.array_equal(noisy[0], noisy[1])
    assert not np.array_equal(perturb(IMAGES, KEYS, {**NOISE, "seed": 8}), noisy)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"kind": "snow"}, "perturbation 'snow'"),
        ({"sigma": 0.1}, "perturbation 'None'"),
        ({"kind": "gaussian_noise", "power": 2}, "power"),
        ({"kind": "gaussian_noise", "sigma": 2.0}, "sigma must be in"),
    ],
)
def test_bad_description_is_named(description, message):
    with pytest.raises(InputError, match=message):
        perturb(IMAGES, KEYS, description)
