import numpy as np
import pytest

from ptq_pipeline.statistics.crossed import (
    components,
    group_drops,
    mean_over_draws,
    seeded_components,
)


def test_components_are_recovered_on_average():
    generator = np.random.default_rng(1)
    found = []
    for _ in range(200):
        draws = generator.normal(0, 0.3, (12, 1))
        images = generator.normal(0, 0.5, (1, 80))
        found.append(components(draws + images + generator.normal(0, 0.2, (12, 80))))
    assert np.mean([each.draw for each in found]) == pytest.approx(0.09, rel=0.1)
    assert np.mean([each.image for each in found]) == pytest.approx(0.25, rel=0.1)
    assert np.mean([each.rest for each in found]) == pytest.approx(0.04, rel=0.1)


def test_identical_draws_have_no_spread_of_their_own():
    row = np.random.default_rng(2).integers(-1, 2, 50)
    found = components(np.tile(row, (6, 1)))
    assert found.draw == found.draw_share == 0
    assert found.rest == pytest.approx(0)
    assert found.drop_sd_between_image_sets > 0
    assert components(np.zeros((3, 4))).draw_share == 0


def test_components_need_two_of_each():
    with pytest.raises(ValueError, match="at least 2"):
        components(np.zeros((1, 10)))


def test_drops_pair_all_trials_on_the_same_images():
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 3, 300)
    one = generator.integers(-1, 2, 300).astype(np.int8)
    drops = group_drops(np.stack([one, one]), labels, 4, 50, 7)
    assert drops.shape == (51, 4, 2)
    np.testing.assert_array_equal(drops[..., 0], drops[..., 1])
    for group in range(3):
        assert drops[0, group, 0] == pytest.approx(one[labels == group].mean(), abs=1e-6)
    assert np.isnan(drops[:, 3]).all()
    assert drops[1:, 0, 0].std() == pytest.approx(
        one[labels == 0].std() / np.sqrt((labels == 0).sum()), rel=0.3
    )


def test_interval_covers_the_mean_over_other_draws_and_other_images():
    generator = np.random.default_rng(4)
    covered = 0
    for trial in range(150):
        rates = np.clip(generator.normal(0.05, 0.01, 5), 0, 1)
        losses = (generator.random((5, 200)) < rates[:, None]).astype(np.int8)
        drops = group_drops(losses, np.zeros(200, int), 1, 60, trial)[:, 0]
        found = mean_over_draws(drops)
        covered += found.low <= 0.05 <= found.high
    assert covered >= 0.93 * 150


def test_one_draw_has_no_interval():
    found = mean_over_draws(np.full((11, 1), 0.25))
    assert (found.value, found.draws) == (0.25, 1)
    assert np.isnan([found.low, found.high]).all()


def test_the_seed_of_the_method_is_told_from_the_draw_and_from_images():
    generator = np.random.default_rng(5)
    found = []
    for _ in range(150):
        draws = generator.normal(0, 0.3, (10, 1, 1))
        seeds = generator.normal(0, 0.2, (10, 3, 1))
        images = generator.normal(0, 0.5, (1, 1, 60))
        both = generator.normal(0, 0.4, (10, 1, 60))
        found.append(
            seeded_components(draws + seeds + images + both + generator.normal(0, 0.1, (10, 3, 60)))
        )
    truth = {"draw": 0.09, "seed": 0.04, "image": 0.25, "draw_image": 0.16, "rest": 0.01}
    for name, value in truth.items():
        assert np.mean([getattr(each, name) for each in found]) == pytest.approx(value, rel=0.1)


def test_a_method_without_randomness_has_no_spread_between_seeds():
    one = np.random.default_rng(6).integers(-1, 2, (5, 1, 40))
    found = seeded_components(np.repeat(one, 2, axis=1))
    assert found.seed == 0
    assert found.rest == pytest.approx(0)
    plain = components(one[:, 0])
    assert found.drop_sd_between_draws == pytest.approx(plain.drop_sd_between_draws)
    assert found.drop_sd_between_image_sets == pytest.approx(plain.drop_sd_between_image_sets)
    with pytest.raises(ValueError, match="each at least 2"):
        seeded_components(one)
