"""The corruptions: what each does, on small grey images as on large ones in colour."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.stress import SHIFTS, apply_shift, build_shift, shifts
from ptq_pipeline.stress.corruptions import convolve, disk_kernel, line_kernel

GRADED = [kind for kind in SHIFTS if kind != "clean"]


def scene(count: int, channels: int, side: int) -> np.ndarray:
    """Soft shapes with detail to lose, without a grid of their own."""
    generator = np.random.default_rng(3)
    coarse = generator.integers(0, 256, (count * channels, 11, 11)).astype(np.uint8)
    images = [
        Image.fromarray(each).resize((side, side), Image.Resampling.BICUBIC) for each in coarse
    ]
    return np.stack(images).reshape(count, channels, side, side)


SMALL, LARGE = scene(6, 1, 28), scene(2, 3, 224)
KEYS = np.arange(6, dtype=np.uint64) * 7919


@pytest.mark.parametrize("kind", GRADED)
@pytest.mark.parametrize("images", [SMALL, LARGE], ids=["28x28 grey", "224x224 colour"])
def test_five_severities_grow(kind, images):
    keys = KEYS[: len(images)]
    damage = []
    for severity in range(1, 6):
        shifted = apply_shift(kind, build_shift(kind, {"severity": severity}), images, keys)
        damage.append(np.abs(shifted.astype(float) - images).mean())
    assert damage[0] > 0
    # JPEG and coarse pixels need not grow at every step, but do over the whole scale.
    assert damage[-1] > damage[0]
    assert np.all(np.diff(damage) > -0.1 * damage[-1])


@pytest.mark.parametrize("kind", GRADED)
@pytest.mark.parametrize("severity", [0, 6, True, 2.5])
def test_severity_is_one_of_five(kind, severity):
    with pytest.raises(InputError, match="severity must be 1, 2, 3, 4 or 5"):
        build_shift(kind, {"severity": severity})


@pytest.mark.parametrize("kind", ["gaussian_noise", "shot_noise", "impulse_noise", "motion_blur"])
def test_seed_and_key_decide_everything(kind):
    first = build_shift(kind, {"severity": 5, "seed": 1})(SMALL, KEYS)
    other = build_shift(kind, {"severity": 5, "seed": 2})(SMALL, KEYS)
    assert not np.array_equal(first, other)
    twins = build_shift(kind, {"severity": 5, "seed": 1})(SMALL[[0, 0]], KEYS[[0, 1]])
    assert not np.array_equal(twins[0], twins[1])


def test_the_default_shifts_give_the_pixels_they_always_gave():
    images = np.random.default_rng(0).integers(0, 256, (9, 1, 28, 28), dtype=np.uint8)
    keys = np.arange(9, dtype=np.uint64) * 977
    found = {
        name: hashlib.sha256(build_shift(name, options)(images, keys).tobytes()).hexdigest()[:12]
        for name, options in {
            "gaussian_noise": {"sigma": 0.03, "seed": 1},
            "image_size": {"scale": 0.85},
        }.items()
    }
    assert found == {"gaussian_noise": "d4cbfa355826", "image_size": "31d35e94028a"}


def test_strength_comes_from_severity_or_from_itself():
    for options in ({}, {"sigma": 0.1, "severity": 2}):
        with pytest.raises(InputError, match="either sigma or severity"):
            build_shift("gaussian_noise", options)


def test_kernels_keep_the_light():
    for kernel in (disk_kernel(0.4), disk_kernel(3.2), line_kernel(0.5, 1.0), line_kernel(9, 2.2)):
        assert kernel.sum() == pytest.approx(1)
        assert len(kernel) % 2 == 1
    flat = np.full((2, 1, 9, 9), 80, np.float32)
    np.testing.assert_allclose(convolve(flat, disk_kernel(2.5)), flat, rtol=1e-5)
    point = np.zeros((1, 1, 21, 21), np.float32)
    point[0, 0, 10, 10] = 1
    level = convolve(point, line_kernel(9, 0.0))[0, 0]
    assert level[10].sum() == pytest.approx(1) and level[9].sum() == 0


def test_shot_noise_leaves_black_black_and_brightness_keeps_colour():
    black = np.zeros((3, 1, 20, 20), np.uint8)
    assert not build_shift("shot_noise", {"severity": 5})(black, KEYS[:3]).any()
    blue = np.zeros((1, 3, 8, 8), np.uint8)
    blue[:, 2] = 100
    brighter = build_shift("brightness", {"severity": 5})(blue, KEYS[:1])
    assert brighter[0, 2].min() > 100 and not brighter[0, :2].any()
    assert build_shift("brightness", {"severity": 1})(black, KEYS[:3]).min() > 0


class Reversing:
    def __call__(self, images, keys):
        return images[::-1]


class Labelling:
    def __call__(self, images, keys):
        return images, np.zeros(len(images))


class Growing:
    def __call__(self, images, keys):
        return images.repeat(2, 3)


class Floating:
    def __call__(self, images, keys):
        return images / 255


class InPlace:
    def __call__(self, images, keys):
        images += 1
        return images.copy()


@pytest.mark.parametrize(
    ("shift", "message"),
    [
        (Reversing, "other pixels in another order"),
        (Labelling, "a shift may not change labels"),
        (Growing, r"must keep shape and type, uint8 \(4, 1, 28, 28\)"),
        (Floating, "it returned float64"),
        (InPlace, "changed its input in place"),
    ],
)
def test_what_is_no_shift_is_refused(shift, message):
    with pytest.raises(InputError, match=message):
        apply_shift("own", shift(), SMALL.copy(), KEYS)


class Point:
    def __init__(self, value):
        self.value = value

    def load(self):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


def test_installed_packages_bring_shifts(monkeypatch):
    points = {"fog": Point(lambda density=0.5: Reversing()), "broken": Point(ImportError("no fog"))}
    monkeypatch.setattr(shifts, "_installed", lambda: points)
    assert isinstance(build_shift("morning", {"kind": "fog", "density": 1}), Reversing)
    with pytest.raises(InputError, match="unexpected keyword argument"):
        build_shift("fog", {"colour": 1})
    with pytest.raises(InputError, match="cannot be imported .no fog."):
        build_shift("broken", {})
    with pytest.raises(InputError, match=r"unknown; choose one of .*'broken', 'fog'"):
        build_shift("snow", {})
