import numpy as np
import pytest

from ptq_pipeline.profiling.features import (
    COMPONENTS,
    IMAGE_FEATURES,
    Projection,
    fit_projection,
    image_features,
    model_features,
)


def test_features_of_a_flat_image():
    row = image_features(np.full((1, 1, 8, 8), 51, np.uint8)).iloc[0]
    assert row["brightness"] == pytest.approx(0.2)
    assert row["foreground_brightness"] == pytest.approx(0.2)
    assert row["foreground_share"] == 1.0
    assert row[["contrast", "sharpness", "noise", "entropy"]].abs().max() < 1e-6


def test_features_of_half_an_image():
    image = np.zeros((1, 1, 4, 8), np.uint8)
    image[..., 4:] = 255
    row = image_features(image).iloc[0]
    assert row["brightness"] == pytest.approx(0.5)
    assert row["contrast"] == pytest.approx(0.5)
    assert row["entropy"] == pytest.approx(1.0)
    assert row["foreground_share"] == 0.5
    assert row["foreground_brightness"] == pytest.approx(1.0)


@pytest.mark.parametrize("sigma", [5, 15, 30])
def test_noise_is_estimated_without_bias_on_a_grey_ground(sigma):
    generator = np.random.default_rng(0)
    images = 128 + sigma * generator.standard_normal((20, 1, 64, 64))
    noise = image_features(np.clip(np.rint(images), 0, 255).astype(np.uint8))["noise"]
    assert noise.mean() * 255 == pytest.approx(sigma, rel=0.03)


def test_chunks_do_not_change_the_result():
    images = np.random.default_rng(1).integers(0, 256, (23, 3, 9, 7), dtype=np.uint8)
    whole = image_features(images)
    assert list(whole.columns) == list(IMAGE_FEATURES)
    assert whole.equals(image_features(images, chunk=4))


def test_no_images_give_no_rows():
    assert image_features(np.zeros((0, 1, 8, 8), np.uint8)).shape == (0, len(IMAGE_FEATURES))


def test_projection_keeps_the_leading_variance_and_survives_json():
    generator = np.random.default_rng(2)
    features = generator.standard_normal((500, 12)) * np.arange(12, 0, -1)
    projection = fit_projection(features)
    scores = projection(features)
    spread = scores.var(0)
    assert (np.diff(spread) < 0).all()
    eigenvalues = np.linalg.eigvalsh(np.cov(features.T))[::-1][:COMPONENTS]
    assert spread * 500 / 499 == pytest.approx(eigenvalues, rel=1e-4)
    again = Projection.from_json(projection.to_json())
    np.testing.assert_array_equal(again(features), scores)


def test_projection_of_few_features_is_padded_with_zeros():
    features = np.random.default_rng(3).standard_normal((50, 3))
    assert not fit_projection(features)(features)[:, 3:].any()


def test_model_features_are_probabilities():
    logits = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    projection = fit_projection(np.eye(3))
    frame = model_features(logits, np.eye(3)[:2], projection)
    top = np.exp(2) / (np.exp(2) + 2)
    assert frame["confidence"].tolist() == pytest.approx([top, 1 / 3])
    assert frame["margin"].tolist() == pytest.approx([top - 1 / (np.exp(2) + 2), 0.0])
    assert frame["predicted"].tolist() == [0, 0]
