import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from rejection_rates import is_met, observe

from ptq_pipeline.calibration.cache import ValidationCache
from ptq_pipeline.calibration.draws import (
    INDEX_COLUMNS,
    VALIDATION_COLUMNS,
    draw_set,
    draw_valid_sets,
)
from ptq_pipeline.calibration.parameters import CalibrationParameters, DrawPlan
from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.calibration.strategies import parse_strategy
from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.calibration.validation import (
    SetValidator,
    judged_hashes,
    stored_profile,
)
from ptq_pipeline.core.errors import InputError

SIZE = 256


@pytest.fixture
def make_validator(material):
    def make(cache=None, thresholds=None, definitions=None):
        return SetValidator(
            thresholds or material.thresholds,
            SIZE,
            definitions or material.definitions,
            judged_hashes(material.samples),
            material.profile,
            cache,
        )

    return make


def draw(material, strategy, number=0, **options):
    plan = DrawPlan(parse_strategy(strategy, options), SIZE, 11)
    return draw_set(material.pool, material.images, plan, number)


def change(calibration_set, **fields):
    return CalibrationSet(
        calibration_set.manifest.model_copy(update=fields), np.asarray(calibration_set.images)
    )


def with_thresholds(material, values):
    known = material.thresholds.sizes[SIZE]
    changed = {SIZE: known.model_copy(update={"thresholds": values})}
    return material.thresholds.model_copy(update={"sizes": changed})


def plan(**changes):
    settings = {
        "set_size": SIZE,
        "draws": 3,
        "max_draws": 6,
        "comparison_strategies": ("class_biased", "noisy"),
        "comparison_draws": 2,
        "seed": 5,
        "validation": {"features": ("brightness",)},
    }
    return CalibrationParameters(**{**settings, **changes})


@pytest.mark.parametrize("strategy", ["random", "class_biased", "noisy"])
def test_great_expectations_observes_what_numpy_observes(material, make_validator, strategy):
    drawn = draw(material, strategy)
    validator = make_validator()
    rows, suite = validator.validate(drawn), validator.suite
    expected = observe(validator.table(drawn), suite)
    assert {row["expectation"]: row["observed"] for row in rows} == expected
    assert {row["expectation"]: row["success"] for row in rows} == {
        spec.name: is_met(spec, expected[spec.name]) for spec in suite
    }
    assert all(row["error"] == "" for row in rows)
    json.dumps(rows, allow_nan=False)


@pytest.mark.parametrize(
    ("strategy", "options", "meant"),
    [
        ("class_biased", {}, "class_shares"),
        ("segment_biased", {"segment": "tone"}, "tone_shares"),
        ("segment_biased", {"segment": "size"}, "size_shares"),
        ("noisy", {}, "noise_distance"),
    ],
)
def test_shifted_set_fails_what_is_meant_for_it(material, make_validator, strategy, options, meant):
    rows = make_validator().validate(draw(material, strategy, **options))
    assert meant in [row["expectation"] for row in rows if not row["success"]]


def test_image_of_the_audit_is_found_even_under_noise(material, make_validator):
    drawn = draw(material, "noisy")
    audit = material.samples.loc[material.samples["split"] == "audit", "content_hash"].iloc[0]
    hashes = (audit, *drawn.manifest.content_hashes[1:])
    rows = {
        row["expectation"]: row
        for row in make_validator().validate(change(drawn, content_hashes=hashes))
    }
    assert rows["no_overlap"]["observed"] == 1
    assert not rows["no_overlap"]["success"]


def test_repeated_image_and_wrong_size_are_found(material, make_validator):
    drawn = draw(material, "random")
    hashes = (drawn.manifest.content_hashes[1], *drawn.manifest.content_hashes[1:])
    rows = make_validator().validate(change(drawn, content_hashes=hashes))
    assert [row["expectation"] for row in rows if not row["success"]] == ["no_duplicates"]
    manifest = drawn.manifest
    short = change(
        drawn, sample_ids=manifest.sample_ids[:255], content_hashes=manifest.content_hashes[:255]
    )
    failed = [row for row in make_validator().validate(short) if not row["success"]]
    assert [(row["expectation"], row["observed"]) for row in failed] == [("set_size", 255)]


def test_expectation_that_raises_is_an_error_and_is_not_remembered(material, make_validator):
    reference = material.thresholds.reference
    shares = {**reference.shares, "tone": reference.shares["tone"][:-1]}
    broken = reference.model_copy(update={"shares": shares})
    thresholds = material.thresholds.model_copy(update={"reference": broken})
    validator = make_validator(thresholds=thresholds)
    drawn = draw(material, "random")
    rows = {row["expectation"]: row for row in validator.validate(drawn)}
    assert rows["tone_shares"]["error"]
    assert rows["tone_shares"]["observed"] is None
    assert not rows["tone_shares"]["success"]
    assert rows["class_shares"]["success"]
    validator.finish()
    validator.validate(drawn)
    assert validator.runs == 1
    cache = ValidationCache()
    again = make_validator(cache, thresholds)
    again.validate(drawn)
    again.finish()
    third = make_validator(cache, thresholds)
    third.validate(drawn)
    assert third.runs == 1


def test_two_validators_do_not_disturb_each_other(material, make_validator):
    drawn = draw(material, "random")
    first, second = make_validator(), make_validator()
    rows = first.validate(drawn)
    second.validate(draw(material, "noisy"))
    other = draw(material, "random", 1)
    assert first.validate(other) == make_validator().validate(other)
    assert rows == make_validator().validate(drawn)


def test_known_set_is_not_validated_again(material, make_validator, tmp_path):
    path = tmp_path / "cache.json"
    drawn = [draw(material, "random"), draw(material, "noisy")]
    first = make_validator(ValidationCache(path))
    rows = [first.validate(one) for one in drawn]
    first.finish()
    second = make_validator(ValidationCache(path))
    assert [second.validate(one) for one in drawn] == rows
    assert (first.runs, second.runs) == (2, 0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["cache.json"]


def test_other_thresholds_or_other_profiles_are_validated_anew(material, make_validator):
    cache = ValidationCache()
    drawn = draw(material, "random")
    make_validator(cache).validate(drawn)
    first = make_validator(cache)
    first.validate(drawn)
    first.finish()
    looser = {name: 2 * value for name, value in material.thresholds.of_size(SIZE).items()}
    second = make_validator(cache, with_thresholds(material, looser))
    second.validate(drawn)
    assert second.runs == 1
    brighter = material.profiles.assign(brightness=material.profiles["brightness"] + 0.01)
    third = SetValidator(
        material.thresholds,
        SIZE,
        material.definitions,
        judged_hashes(material.samples),
        stored_profile(brighter),
        cache,
    )
    third.validate(drawn)
    assert third.runs == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 2}'])
def test_damaged_cache_is_ignored_and_replaced(tmp_path, text, caplog):
    path = tmp_path / "cache.json"
    path.write_text(text)
    cache = ValidationCache(path)
    assert cache.get("a") is None
    assert "cache.json" in caplog.text
    cache.update({"a": [{"success": True}]})
    assert ValidationCache(path).get("a") == [{"success": True}]


def test_a_result_that_was_changed_by_hand_is_not_believed(tmp_path, caplog):
    path = tmp_path / "cache.json"
    ValidationCache(path).update({"a": [{"success": False}], "b": [{"success": False}]})
    path.write_text(path.read_text().replace("false", "true", 1))
    cache = ValidationCache(path)
    assert cache.get("a") is None
    assert cache.get("b") == [{"success": False}]
    assert "1 of 2 results were changed" in caplog.text


def test_two_caches_on_one_file_keep_each_others_results(tmp_path):
    path = tmp_path / "cache.json"
    first, second = ValidationCache(path), ValidationCache(path)
    first.update({"a": []})
    second.update({"b": []})
    assert ValidationCache(path).get("a") == ValidationCache(path).get("b") == []


def test_data_docs_show_all_sets_and_are_built_once(material, make_validator, tmp_path):
    cache = ValidationCache(tmp_path / "cache.json", tmp_path / "docs")
    drawn = [draw(material, "random", number) for number in range(3)]

    def run(sets):
        validator = make_validator(cache)
        for one in sets:
            validator.validate(one)
        validator.finish(data_docs=True)
        return validator.runs, len(list((tmp_path / "docs/validations").rglob("*.html")))

    assert run(drawn[:2]) == (2, 2)
    assert run(drawn[:2]) == (0, 2)
    assert run(drawn) == (3, 3)
    assert "tone" in next((tmp_path / "docs/validations").rglob("*.html")).read_text()


def test_sets_are_drawn_until_enough_are_valid(material, make_validator):
    drawn = draw_valid_sets(material.pool, material.images, plan(), make_validator())
    index, validation = drawn.index(), drawn.validation()
    assert list(index.columns) == list(INDEX_COLUMNS)
    assert list(validation.columns) == list(VALIDATION_COLUMNS)
    evidence = index[index["role"] == "evidence"]
    assert list(evidence["strategy"].unique()) == ["random"]
    assert list(evidence["draw"]) == list(range(len(evidence)))
    assert evidence["valid"].sum() == 3
    assert list(index["role"]) == ["evidence"] * len(evidence) + ["comparison"] * 4
    assert not index.loc[index["role"] == "comparison", "valid"].any()
    assert set(index["set_id"]) == set(drawn.sets) == set(validation["set_id"])
    failed = validation[~validation["success"]].groupby("set_id")["expectation"].agg(",".join)
    for row in index.itertuples():
        assert row.failed_expectations == failed.get(row.set_id, "")
    pd.testing.assert_frame_equal(
        index, draw_valid_sets(material.pool, material.images, plan(), make_validator()).index()
    )


def test_rejected_draws_are_kept_counted_and_replaced(material, make_validator):
    """Thresholds that reject about half of the random sets: the valid ones are still collected."""
    strict = {**material.thresholds.of_size(SIZE), "brightness_distance": 0.048}
    validator = make_validator(thresholds=with_thresholds(material, strict))
    wanted = plan(draws=4, max_draws=40, comparison_strategies=())
    index = draw_valid_sets(material.pool, material.images, wanted, validator).index()
    assert index["valid"].sum() == 4
    assert index["valid"].iloc[-1]
    assert len(index) > 4
    rejected = index[~index["valid"]]
    assert rejected["failed_expectations"].str.contains("brightness_distance").all()


def test_too_few_valid_sets_is_a_warning(material, make_validator, caplog):
    strict = {**material.thresholds.of_size(SIZE), "brightness_distance": 0.048}
    validator = make_validator(thresholds=with_thresholds(material, strict))
    wanted = plan(draws=10, max_draws=10, comparison_strategies=())
    index = draw_valid_sets(material.pool, material.images, wanted, validator).index()
    assert 0 < index["valid"].sum() < 10 == len(index)
    assert "of the 10 wanted calibration sets are valid" in caplog.text


def test_all_sets_invalid_names_the_expectation_that_failed_most(material, make_validator):
    biased = plan(strategy="noisy", comparison_strategies=(), draws=2, max_draws=3)
    with pytest.raises(InputError, match="all 3 .* strategy 'noisy'.*'.*_distance' failed most"):
        draw_valid_sets(material.pool, material.images, biased, make_validator())


def test_set_larger_than_the_pool_is_an_error_before_anything_is_drawn(material, make_validator):
    validator = make_validator()
    with pytest.raises(InputError, match="7001 images cannot be drawn from a pool of 7000"):
        draw_valid_sets(material.pool, material.images, plan(set_size=7001), validator)
    assert validator.runs == 0


def test_changed_pixels_need_a_way_to_profile_them(material):
    profile = stored_profile(material.profiles)
    with pytest.raises(InputError, match="has changed pixels"):
        profile(draw(material, "noisy"))


def test_importing_the_package_imports_neither_great_expectations_nor_torch():
    code = (
        "import sys; import ptq_pipeline.calibration.draws, ptq_pipeline.pipelines.calibration; "
        "print([m for m in ('great_expectations', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_comparison_that_a_small_pool_cannot_supply_is_left_out(material, make_validator, caplog):
    few = material.samples[material.samples["split"] == "pool"].groupby("label").head(60)
    pool = Pool.from_samples(few, material.definitions)
    biased = {"class_biased": {"classes": 1, "strength": 1.0}}
    wanted = plan(options=biased, draws=1, max_draws=1, comparison_draws=1)
    index = draw_valid_sets(pool, material.images, wanted, make_validator()).index()
    assert list(index["strategy"]) == ["random", "noisy"]
    assert (
        "strategy 'class_biased' of 'calibration.comparison_strategies' is left out" in caplog.text
    )
