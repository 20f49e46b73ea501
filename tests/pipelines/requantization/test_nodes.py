import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.ledger import Ledger
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.pipelines.requantization.nodes import gather_samples, merge_scores

SPLITS = ["pool", "reference", "selection", "audit"]


def table(count, prefix="", splits=SPLITS):
    ids = np.arange(count)
    return pd.DataFrame(
        {
            "sample_id": ids,
            "content_hash": [f"{prefix or 'old'}{number}" for number in ids],
            "split": [prefix + splits[(number // 2) % len(splits)] for number in ids],
            "label": pd.array(ids % 2, dtype="Int64"),
        }
    )


def gather(production):
    old, images = table(32), np.zeros((32, 1, 4, 4), np.uint8)
    new_images = np.ones((len(production), 1, 4, 4), np.uint8)
    profiles = production[["sample_id", "split"]].assign(brightness=1.0)
    return gather_samples(
        *(old, images, old[["sample_id", "split"]].assign(brightness=0.0)),
        *(production, new_images, profiles),
    )


def test_pool_and_reference_are_new_and_both_are_judged():
    samples, images, profiles, audited, production = gather(table(32, "production_"))
    assert (images[samples["sample_id"]].max(axis=(1, 2, 3)) == (samples["sample_id"] >= 32)).all()
    by_split = samples.groupby("split")["sample_id"].agg(["min", "max"])
    assert (by_split.loc[["pool", "reference"], "min"] >= 32).all()
    assert (by_split.loc[["selection", "audit"], "min"] < 32).all()
    assert (by_split.loc[["selection", "audit"], "max"] >= 32).all()
    assert set(profiles["sample_id"]) == set(samples["sample_id"])
    judged = audited["split"].isin(["selection", "audit"])
    assert (audited.loc[judged, "sample_id"] < 32).all()
    assert set(production["split"]) == {"selection", "audit"}


def test_without_labels_there_is_no_candidate():
    production = table(32, "production_")
    production["label"] = pd.array([pd.NA] * 32, dtype="Int64")
    with pytest.raises(InputError, match="without them a candidate can never be promoted"):
        gather(production)


def test_a_window_without_a_split_is_an_error():
    with pytest.raises(InputError, match="no production image is in split audit"):
        gather(table(32, "production_", SPLITS[:3]))


def test_production_is_a_shift_of_its_own_and_its_opening_is_entered(tmp_path):
    scores = pd.DataFrame({"shift": ["clean", "noise"], "drop": [0.0, 0.1]})
    limits = {"average": {"points": 4}, "class": {"points": 8}, "segment": {"points": 8}}
    policy = Policy.model_validate({"limits": {**limits, "intersection": {"points": 30}}})
    ledger = Ledger(tmp_path / "ledger.jsonl")
    samples = table(8).assign(content_hash=[f"{n:064x}" for n in range(8)])
    trial = {"trial_id": ["a"], "set_id": ["s"], "strategy": "random", "role": "evidence"}
    trials = pd.DataFrame({**trial, "draw": 0})
    merged = merge_scores(scores, scores, samples, trials, ledger, policy)
    assert merged["shift"].tolist() == ["clean", "noise", "production", "production:noise"]
    assert len(ledger.entries()) == 1
