from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptq_pipeline.calibration.draws import draw_set
from ptq_pipeline.calibration.parameters import DrawPlan
from ptq_pipeline.calibration.strategies import STRATEGIES, k_center, parse_strategy
from ptq_pipeline.calibration.strategy import Pool, TooFewImages
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions, SegmentColumn
from ptq_pipeline.images.source import content_hashes

PER_CLASS, CLASSES = 60, ("cat", "dog", "eel")
TONES = ("dark", "light")


def make_pool(labels: np.ndarray | None = None) -> tuple[Pool, np.ndarray]:
    labels = np.arange(3).repeat(PER_CLASS) if labels is None else labels
    images = np.random.default_rng(5).integers(0, 256, (len(labels) + 10, 1, 6, 6), np.uint8)
    ids = np.arange(10, len(labels) + 10)
    samples = pd.DataFrame(
        {
            "sample_id": ids,
            "content_hash": content_hashes(images[10:]),
            "split": "pool",
            "label": labels,
            "tone": np.where(ids % 2, *TONES),
        }
    )
    others = samples.assign(split="audit").head(3)
    definitions = GroupDefinitions(
        classes=CLASSES, segments={"tone": SegmentColumn(names=tuple(TONES))}
    )
    profiles = make_profiles(samples)
    return Pool.from_samples(pd.concat([others, samples]), definitions, profiles=profiles), images


def make_profiles(samples: pd.DataFrame) -> pd.DataFrame:
    """What a float model might make of the samples: each class a cloud, some answers wrong."""
    generator = np.random.default_rng(8)
    labels = samples["label"].to_numpy()
    centres = np.array([[0, 0], [8, 0], [0, 8]])[labels]
    components = centres + generator.standard_normal((len(labels), 2))
    return pd.DataFrame(
        {
            "sample_id": samples["sample_id"],
            "predicted": np.where(generator.random(len(labels)) < 0.1, (labels + 1) % 3, labels),
            "confidence": generator.uniform(0.4, 1, len(labels)),
            "margin": generator.uniform(0, 1, len(labels)),
            "component_1": components[:, 0],
            "component_2": components[:, 1],
        }
    )


POOL, IMAGES = make_pool()
CHANGED = {"noisy", "corrupted", "out_of_distribution"}


def draw(strategy: str, size: int = 30, seed: int = 0, number: int = 0, **options):
    plan = DrawPlan(parse_strategy(strategy, options), size, seed)
    return draw_set(POOL, IMAGES, plan, number)


def labels_of(calibration_set) -> np.ndarray:
    rows = np.searchsorted(POOL.sample_ids, calibration_set.manifest.sample_ids)
    return POOL.labels[rows]


@pytest.mark.parametrize("strategy", list(STRATEGIES))
@settings(deadline=None)
@given(size=st.integers(1, 60), seed=st.integers(0, 2**40), number=st.integers(0, 200))
def test_every_draw_is_seeded_complete_and_without_replacement(strategy, size, seed, number):
    first = draw(strategy, size, seed, number)
    again = draw(strategy, size, seed, number)
    assert first.manifest == again.manifest
    np.testing.assert_array_equal(np.asarray(first.images), np.asarray(again.images))
    manifest = first.manifest
    assert len(set(manifest.sample_ids)) == size == len(first.images) == manifest.size
    assert set(manifest.sample_ids) <= set(POOL.sample_ids.tolist())
    assert manifest.pool_size == len(POOL)
    assert manifest.shape == (size, 1, 6, 6)
    first.verify()


@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - CHANGED))
def test_pixels_are_those_of_the_samples(strategy):
    drawn = draw(strategy)
    assert drawn.manifest.augmentation == {}
    np.testing.assert_array_equal(np.asarray(drawn.images), IMAGES[list(drawn.manifest.sample_ids)])
    assert list(drawn.manifest.content_hashes) == content_hashes(np.asarray(drawn.images))


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_draws_and_seeds_differ(strategy):
    drawn = [draw(strategy, seed=seed, number=n) for seed in range(3) for n in range(10)]
    assert len({calibration_set.manifest.sample_ids for calibration_set in drawn}) == 30


def test_seed_depends_on_strategy_options_master_seed_and_draw():
    weak, strong = (parse_strategy("class_biased", {"strength": s}) for s in (0.2, 0.9))
    seeds = {
        DrawPlan(weak, 9, 1).seed_of(0),
        DrawPlan(strong, 9, 1).seed_of(0),
        DrawPlan(weak, 9, 2).seed_of(0),
        DrawPlan(weak, 9, 1).seed_of(1),
        DrawPlan(parse_strategy("random"), 9, 1).seed_of(0),
    }
    assert len(seeds) == 5
    assert max(seeds) < 2**53


def test_drawing_does_not_touch_the_global_generator():
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    draw("noisy")
    assert np.random.random() == expected


def test_smaller_random_set_begins_the_larger_one():
    assert draw("random", 20).manifest.sample_ids == draw("random", 40).manifest.sample_ids[:20]


def test_random_draws_reach_every_image_equally():
    drawn = [draw("random", 90, number=n).manifest.sample_ids for n in range(200)]
    counts = np.bincount(np.concatenate(drawn), minlength=190)[10:]
    assert counts.min() > 65 and counts.max() < 135


@given(size=st.integers(3, 150), number=st.integers(0, 20))
def test_balanced_sets_differ_by_at_most_one_image_per_class(size, number):
    counts = np.bincount(labels_of(draw("class_balanced", size, number=number)), minlength=3)
    assert counts.sum() == size
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_class_bias_reaches_its_strength(strength):
    shares = [
        np.bincount(labels_of(draw("class_biased", 60, number=n, strength=strength, classes=1)))
        for n in range(20)
    ]
    largest = np.array([counts.max() / 60 for counts in shares])
    assert np.all(largest >= strength)
    assert largest.mean() == pytest.approx(strength + (1 - strength) / 3, abs=0.1)


def test_favoured_classes_vary_between_draws():
    drawn = [draw("class_biased", 60, number=n, strength=0.9, classes=1) for n in range(20)]
    assert {int(np.bincount(labels_of(one)).argmax()) for one in drawn} == {0, 1, 2}


def test_segment_bias_reaches_the_named_value():
    drawn = draw("segment_biased", 60, strength=0.9, segment="tone", value="dark")
    rows = np.searchsorted(POOL.sample_ids, drawn.manifest.sample_ids)
    assert (POOL.segments["tone"][rows] == "dark").sum() >= 54


def test_noise_is_per_image_and_does_not_depend_on_the_rest_of_the_set():
    small, large = draw("noisy", 10), draw("noisy", 30)
    assert small.manifest.augmentation == large.manifest.augmentation
    assert small.manifest.augmentation["kind"] == "gaussian_noise"
    np.testing.assert_array_equal(np.asarray(small.images), np.asarray(large.images)[:10])
    clean = IMAGES[list(small.manifest.sample_ids)]
    assert np.all((np.asarray(small.images) != clean).mean((1, 2, 3)) > 0.5)
    assert list(small.manifest.content_hashes) == content_hashes(clean)


def test_repeated_image_counts_once_in_the_pool():
    images = np.zeros((4, 1, 6, 6), np.uint8)
    images[3] = 1
    samples = pd.DataFrame(
        {
            "sample_id": range(4),
            "content_hash": content_hashes(images),
            "split": "pool",
            "label": 0,
        }
    )
    pool = Pool.from_samples(samples, GroupDefinitions(classes=("cat",), segments={}))
    assert pool.sample_ids.tolist() == [0, 3]


@pytest.mark.parametrize("size", [0, 181])
def test_impossible_size_is_refused(size):
    with pytest.raises(InputError, match=f"{size} images cannot be drawn from a pool of 180"):
        draw("random", size)


def test_unknown_strategy_is_refused():
    with pytest.raises(InputError, match="'stratified' is unknown"):
        parse_strategy("stratified")


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        ("class_biased", {"strength": 1.5}, "option 'strength'"),
        ("noisy", {"sigma": 0}, "option 'sigma'"),
        ("random", {"strength": 0.5}, "option 'strength' of calibration strategy 'random'"),
    ],
)
def test_bad_option_is_named(strategy, options, message):
    with pytest.raises(InputError, match=message):
        parse_strategy(strategy, options)


def test_class_missing_in_the_pool_is_named():
    pool, images = make_pool(np.arange(2).repeat(PER_CLASS))
    plan = DrawPlan(parse_strategy("class_balanced"), 9, 0)
    with pytest.raises(InputError, match="0 image.s. of class 'eel'"):
        draw_set(pool, images, plan, 0)


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        ("class_biased", {"classes": 4}, "4 favoured classes"),
        ("class_biased", {"classes": 1, "strength": 1.0}, "60 image.s. of class"),
        ("segment_biased", {"segment": "weather"}, "segment 'weather' is not defined"),
        ("segment_biased", {"value": "purple"}, "0 image.s. of segment tone=purple"),
    ],
)
def test_pool_that_cannot_supply_the_set_is_an_error(strategy, options, message):
    with pytest.raises(InputError, match=message):
        draw(strategy, 90, **options)


def rows_of(calibration_set) -> np.ndarray:
    return np.searchsorted(POOL.sample_ids, calibration_set.manifest.sample_ids)


def test_few_sources_are_the_given_clusters_or_groups_that_look_alike():
    clusters = np.array([f"user {n % 9}" for n in range(len(POOL))], object)
    pool = replace(POOL, clusters=clusters)
    few = parse_strategy("few_sources", {"sources": 2})
    drawn = draw_set(pool, IMAGES, DrawPlan(few, 30, 1), 0)
    assert len(set(clusters[rows_of(drawn)])) == 2
    larger = draw_set(pool, IMAGES, DrawPlan(few, 50, 1), 0)
    assert len(set(clusters[rows_of(larger)])) == 3
    alike = labels_of(draw("few_sources", 20, sources=1, groups=3))
    assert np.bincount(alike).max() == 20


@pytest.mark.parametrize("method", ["k_center", "clusters"])
def test_coverage_leaves_no_image_far_from_the_set(method):
    space = POOL.space("coverage")

    def farthest(calibration_set) -> float:
        taken = space[rows_of(calibration_set)]
        return np.linalg.norm(space[:, None] - taken[None], axis=2).min(1).mean()

    covering = [farthest(draw("coverage", 20, number=n, method=method)) for n in range(10)]
    assert np.mean(covering) < 0.9 * np.mean(
        [farthest(draw("random", 20, number=n)) for n in range(10)]
    )


def test_k_center_takes_every_row_once_even_among_equal_ones():
    assert sorted(k_center(np.zeros((5, 2)), 5)) == [0, 1, 2, 3, 4]
    assert k_center(np.array([[0.0], [1.0], [9.0], [5.0]]), 3).tolist() == [0, 2, 3]


def test_margin_and_hard_favour_what_they_say():
    margin, confidence = POOL.features["margin"], POOL.features["confidence"]
    near = rows_of(draw("margin", 30, strength=1.0, share=0.25))
    assert margin[near].max() <= np.quantile(margin, 0.25)
    wrong = POOL.features["predicted"] != POOL.labels
    count = int(wrong.sum())
    assert wrong[rows_of(draw("hard", count, strength=1.0, share=0.01))].all()
    order = POOL.hard_order("hard")
    assert wrong[order[:count]].all() and not wrong[order[count:]].any()
    assert np.all(np.diff(confidence[order[count:]]) >= 0)
    mixed = draw("hard", 100, strength=0.7, share=0.01)
    assert mixed.manifest.size == 100


def test_strategies_that_need_profiles_say_so():
    bare = replace(POOL, features={})
    for strategy in ("coverage", "margin", "hard", "few_sources"):
        with pytest.raises(InputError, match=f"{strategy}: the pool has no profile column"):
            draw_set(bare, IMAGES, DrawPlan(parse_strategy(strategy), 5, 0), 0)


def test_corrupted_sets_may_be_so_in_part():
    drawn = draw("corrupted", 100, kind="impulse_noise", severity=5, share=0.5)
    clean = IMAGES[list(drawn.manifest.sample_ids)]
    changed = (np.asarray(drawn.images) != clean).any((1, 2, 3)).mean()
    assert 0.35 < changed < 0.65
    with pytest.raises(InputError, match="'snow'"):
        parse_strategy("corrupted", {"kind": "snow"})


def test_augmentation_stands_in_the_manifest_and_leaves_the_images_drawn():
    random = parse_strategy("random")
    steps = {"steps": [{"kind": "flip", "share": 0.5}, {"kind": "mixup", "alpha": 1.0}]}
    plain = draw_set(POOL, IMAGES, DrawPlan(random, 30, 0), 3)
    augmented = draw_set(POOL, IMAGES, DrawPlan(random, 30, 0, steps), 3)
    assert augmented.manifest.sample_ids == plain.manifest.sample_ids
    assert augmented.set_id != plain.set_id
    seeds = [step["seed"] for step in augmented.manifest.augmentation["steps"]]
    assert seeds == [plain.manifest.seed, plain.manifest.seed + 1]
    assert not np.array_equal(np.asarray(augmented.images), np.asarray(plain.images))
    flipped = DrawPlan(parse_strategy("noisy"), 30, 0, {"kind": "flip"})
    noisy = draw_set(POOL, IMAGES, flipped, 3)
    assert [step["kind"] for step in noisy.manifest.augmentation["steps"]] == [
        "gaussian_noise",
        "flip",
    ]
    augmented.verify()


def test_a_comparison_by_segments_is_left_out_where_there_are_none():
    bare = Pool(
        np.arange(20), np.asarray([f"{row:064x}" for row in range(20)], object),
        np.zeros(20, np.int64), {}, ("only",),
    )  # fmt: skip
    with pytest.raises(TooFewImages, match="the samples have no segments; leave it out"):
        parse_strategy("segment_biased", {}).draw(bare, 5, np.random.default_rng(0))
