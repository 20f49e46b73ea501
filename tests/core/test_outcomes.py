import time

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.answers import FloatAnswers
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.grouping import build_groups
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.core.tally import SCORE_COLUMNS, score

CLASSES = ("a", "b", "c")
SEGMENTS = {"tone": ("dark", "light")}


def make(samples=60, trials=4, seed=0, flip=0.2):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "sample_id": np.arange(samples) * 3 + 1,
            "split": np.where(np.arange(samples) % 3 == 0, "selection", "audit"),
            "label": rng.integers(0, 3, samples),
            "tone": rng.choice(["dark", "light"], samples),
        }
    )
    floats, parts = [], []
    for shift in ("clean", "noise"):
        base = np.where(rng.random(samples) < 0.8, table["label"], rng.integers(0, 3, samples))
        floats.append(table[["sample_id"]].assign(shift=shift, predicted=base))
        for trial in range(trials):
            other = rng.integers(0, 3, samples)
            predicted = np.where(rng.random(samples) < flip, other, base).astype(np.int16)
            part = table[["sample_id"]].assign(trial_id=f"t{trial}", shift=shift)
            parts.append(part.assign(predicted=predicted))
    predictions = pd.concat(parts).sample(frac=1, random_state=1)
    trial_table = pd.DataFrame(
        {
            "trial_id": [f"t{i}" for i in range(trials)] + ["broken"],
            "set_id": [f"s{i}" for i in range(trials + 1)],
            "strategy": "random",
            "role": ["evidence"] * (trials - 1) + ["comparison", "evidence"],
            "draw": range(trials + 1),
            "status": ["done"] * trials + ["failed"],
        }
    )
    return table, predictions, pd.concat(floats), trial_table


def test_what_changed_is_paired_as_every_answer_is():
    samples, predictions, floats, _ = make()
    groups = build_groups(samples, CLASSES, SEGMENTS)
    whole = Outcomes.pair(predictions, floats, groups)
    # Rows are in the order of first appearance.
    assert whole.trial_ids == tuple(predictions["trial_id"].unique())
    named = predictions.astype({"trial_id": "category", "shift": "category"})
    of_float = FloatAnswers.of(floats)
    for table in (named, of_float.table(of_float.read(predictions))):
        each = Outcomes.pair(table, floats, groups)
        assert (each.trial_ids, each.shifts) == (whole.trial_ids, whole.shifts)
        for name in ("trial", "shift", "answered", "start", "sample", "changed", "reference"):
            np.testing.assert_array_equal(getattr(each, name), getattr(whole, name))


def test_an_answer_without_a_trial_is_refused():
    samples, predictions, floats, _ = make()
    predictions.iloc[3, predictions.columns.get_loc("trial_id")] = None
    with pytest.raises(InputError, match="predictions: a row has no 'trial_id'"):
        Outcomes.pair(predictions, floats, build_groups(samples, CLASSES, SEGMENTS))


def test_scores_agree_with_a_plain_loop():
    samples, predictions, floats, trials = make()
    groups = build_groups(samples, CLASSES, SEGMENTS)
    scores = score(predictions, floats, groups, trials)
    assert tuple(scores.columns) == SCORE_COLUMNS
    merged = (
        predictions.merge(floats, on=["shift", "sample_id"], suffixes=("", "_float"))
        .merge(samples, on="sample_id")
        .assign(all="all")
    )
    merged["boot"] = [CLASSES[label] for label in merged["label"]]
    merged["tone"] = "tone=" + merged["tone"]
    merged["both"] = merged["boot"] + " & " + merged["tone"]
    checked = 0
    for column in ("all", "boot", "tone", "both"):
        for key, part in merged.groupby(["trial_id", "split", "shift", column]):
            trial, split, shift, group = key
            row = scores.query(
                "trial_id == @trial and split == @split and shift == @shift and group == @group"
            )
            if trial == "t3" and split == "audit":
                assert row.empty
                continue
            right, was = (
                part["predicted"] == part["label"],
                part["predicted_float"] == part["label"],
            )
            assert row["n"].item() == len(part)
            assert row["lost"].item() == (was & ~right).sum()
            assert row["gained"].item() == (~was & right).sum()
            assert row["flips"].item() == (part["predicted"] != part["predicted_float"]).sum()
            assert row["float_accuracy"].item() == pytest.approx(was.mean())
            assert row["quantized_accuracy"].item() == pytest.approx(right.mean())
            assert row["drop"].item() == pytest.approx(was.mean() - right.mean())
            checked += 1
    assert checked == len(scores)


def test_failed_trials_have_no_rows_and_comparisons_no_audit():
    samples, predictions, floats, trials = make()
    scores = score(predictions, floats, build_groups(samples, CLASSES, SEGMENTS), trials)
    assert "broken" not in set(scores["trial_id"])
    assert set(scores.loc[scores["role"] == "comparison", "split"]) == {"selection"}


def test_a_trial_may_answer_one_split_only():
    samples, predictions, floats, trials = make()
    selection = samples.loc[samples["split"] == "selection", "sample_id"]
    predictions = predictions[
        (predictions["trial_id"] != "t3") | predictions["sample_id"].isin(selection)
    ]
    scores = score(predictions, floats, build_groups(samples, CLASSES, SEGMENTS), trials)
    assert set(scores.loc[scores["trial_id"] == "t3", "split"]) == {"selection"}


def test_order_of_predictions_does_not_matter_for_a_trial():
    samples, predictions, floats, trials = make()
    groups = build_groups(samples, CLASSES, SEGMENTS)
    key = ["trial_id", "split", "shift", "level", "group"]
    one = score(predictions, floats, groups, trials).sort_values(key, ignore_index=True)
    other = score(predictions[::-1], floats[::-1], groups, trials)
    pd.testing.assert_frame_equal(one, other.sort_values(key, ignore_index=True))


def test_no_finished_trial_gives_an_empty_table():
    samples, predictions, floats, trials = make()
    groups = build_groups(samples, CLASSES, SEGMENTS)
    scores = score(predictions[:0], floats, groups, trials.assign(status="failed"))
    assert list(scores.columns) == list(SCORE_COLUMNS) and scores.empty


def test_contradictions_are_named():
    samples, predictions, floats, trials = make()
    groups = build_groups(samples, CLASSES, SEGMENTS)
    with pytest.raises(InputError, match="trial 't3' is not a finished trial"):
        score(predictions, floats, groups, trials[trials["trial_id"] != "t3"])
    with pytest.raises(InputError, match="answers .* samples of split"):
        score(predictions.iloc[1:], floats, groups, trials)
    with pytest.raises(InputError, match="answered twice"):
        score(pd.concat([predictions, predictions.iloc[:1]]), floats, groups, trials)
    with pytest.raises(InputError, match="sample 2 is in neither"):
        score(predictions.replace({"sample_id": {1: 2}}), floats, groups, trials)
    with pytest.raises(InputError, match="60 samples have no answer of the float model"):
        score(predictions, floats[floats["shift"] == "clean"], groups, trials)


def test_default_audit_is_scored_quickly():
    samples, predictions, floats, trials = make(samples=10_000, trials=70, flip=0.03)
    groups = build_groups(samples, CLASSES, SEGMENTS)
    start = time.process_time()
    score(predictions, floats, groups, trials)
    assert time.process_time() - start < 5


def test_a_control_value_is_scored_like_a_shift_on_unchanged_images():
    samples, predictions, floats, trials = make(samples=240)
    samples["site"] = np.where(np.arange(240) % 4 == 0, "north", "south")
    groups = build_groups(samples, CLASSES, SEGMENTS, controls={"site": ["north", "south"]})
    plain = score(predictions, floats, build_groups(samples, CLASSES, SEGMENTS), trials)
    scores = score(predictions, floats, groups, trials)
    shifts = list(dict.fromkeys(scores["shift"]))
    assert sorted(shifts[:2]) == ["clean", "noise"] and shifts[2:] == ["site=north", "site=south"]
    shifted = scores[scores["shift"].isin(["clean", "noise"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(shifted, plain)
    north = set(samples.loc[samples["site"] == "north", "sample_id"])
    for site, ids in (("site=north", north), ("site=south", set(samples["sample_id"]) - north)):
        own = scores[scores["shift"] == site].assign(shift="clean")
        alone = samples[samples["sample_id"].isin(ids)]
        expected = score(
            predictions[predictions["sample_id"].isin(ids)],
            floats[floats["sample_id"].isin(ids)],
            build_groups(alone, CLASSES, SEGMENTS),
            trials,
        ).query("shift == 'clean'")
        # Trials come in the order of first appearance, which leaving rows out may change.
        tables = [
            t.sort_values("trial_id", kind="stable", ignore_index=True) for t in (own, expected)
        ]
        pd.testing.assert_frame_equal(*tables)
