"""Error rates of the validation at size 256, on fresh draws (GX equals numpy: test_validation)."""

import pytest
from rejection_rates import failures

from ptq_pipeline.calibration.parameters import DrawPlan
from ptq_pipeline.calibration.strategies import parse_strategy
from ptq_pipeline.calibration.validation import SetValidator, judged_hashes

FRESH_SEED = 424_242


def fail(material, strategy, sets, **options):
    return failures(
        material.pool,
        material.images,
        SetValidator(
            material.thresholds,
            256,
            material.definitions,
            judged_hashes(material.samples),
            material.profile,
        ),
        DrawPlan(parse_strategy(strategy, options), 256, FRESH_SEED),
        sets,
    )


def test_at_most_five_percent_of_random_sets_fail_anything(material):
    assert fail(material, "random", 1000).any(axis=1).mean() <= 0.05


@pytest.mark.parametrize(
    ("strategy", "options", "meant"),
    [
        ("class_biased", {}, "class_shares"),
        ("segment_biased", {"segment": "tone"}, "tone_shares"),
        ("segment_biased", {"segment": "size"}, "size_shares"),
        ("noisy", {}, "noise_distance"),
    ],
)
def test_at_least_95_percent_of_shifted_sets_fail_what_is_meant_for_them(
    material, strategy, options, meant
):
    assert fail(material, strategy, 100, **options)[meant].mean() >= 0.95


def test_rejection_grows_with_the_strength_of_the_bias(material):
    rates = [
        fail(material, "class_biased", 60, strength=strength)["class_shares"].mean()
        for strength in (0.0, 0.2, 0.4)
    ]
    assert rates[0] < 0.1 < rates[1]
    assert rates == sorted(rates)
    assert rates[2] == 1.0
