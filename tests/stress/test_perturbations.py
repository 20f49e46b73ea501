import numpy as np
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.stress.perturbations import check_description, joined, perturb, seeded

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


VARIED = np.random.default_rng(1).integers(0, 256, (40, 1, 20, 20), np.uint8)
MANY = np.arange(40, dtype=np.uint64) * 104729


@pytest.mark.parametrize(
    "step",
    [
        {"kind": "flip"},
        {"kind": "crop", "seed": 3},
        {"kind": "brightness_jitter", "seed": 3},
        {"kind": "mixup", "seed": 3},
        {"kind": "foreign", "content": "noise", "seed": 3},
        {"kind": "foreign", "content": "shuffled", "seed": 3},
        {"kind": "foreign", "content": "inverted"},
        {"kind": "motion_blur", "severity": 5, "seed": 3},
        {"kind": "flip", "share": 0.5, "seed": 3},
    ],
    ids=str,
)
def test_every_change_follows_the_key_whatever_the_order(step):
    changed = perturb(VARIED, MANY, step)
    assert changed.dtype == np.uint8 and changed.shape == VARIED.shape
    assert (changed != VARIED).any()
    np.testing.assert_array_equal(perturb(VARIED[::-1], MANY[::-1], step), changed[::-1])


def test_share_is_the_chance_of_each_image():
    changed = perturb(VARIED, MANY, {"kind": "foreign", "content": "inverted", "share": 0.3})
    touched = (changed != VARIED).any((1, 2, 3))
    assert 4 <= touched.sum() <= 20
    np.testing.assert_array_equal(changed[touched], 255 - VARIED[touched])


def test_steps_follow_each_other():
    steps = {"steps": [{"kind": "flip"}, {"kind": "foreign", "content": "inverted"}]}
    np.testing.assert_array_equal(perturb(VARIED, MANY, steps), 255 - VARIED[..., ::-1])


def test_seeds_go_to_every_step_also_where_nothing_is_drawn():
    described = seeded({"steps": [{"kind": "jpeg", "severity": 1}, {"kind": "mixup"}]}, 2**53 - 1)
    assert [step["seed"] for step in described["steps"]] == [2**53 - 1, 0]
    assert perturb(VARIED, MANY, described).shape == VARIED.shape
    assert seeded({}, 5) == {} == joined({}, {})


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"kind": "crop", "reach": 0}, "reach must be"),
        ({"kind": "mixup", "alpha": -1}, "alpha must be"),
        ({"kind": "foreign", "content": "cats"}, "content must be"),
        ({"kind": "flip", "share": 0}, "share must be above 0"),
        ({"kind": "flip", "share": True}, "share must be above 0"),
        ({"steps": [{"kind": "snow"}]}, "'snow'"),
        ({"steps": [], "kind": "flip"}, "give 'steps' alone"),
        ({"kind": "jpeg", "severity": 9, "seed": 1}, "severity must be"),
    ],
)
def test_bad_augmentation_is_found_before_any_image(description, message):
    with pytest.raises(InputError, match=message):
        check_description(description)
