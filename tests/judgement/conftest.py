"""A small world: two classes, one segment, two shifts, and trials whose losses are chosen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.core.grouping import build_groups
from ptq_pipeline.core.groups import Groups
from ptq_pipeline.core.tally import score
from ptq_pipeline.judgement.policy import Policy

CLASSES = ("boot", "bag")
SEGMENTS = {"tone": ("dark", "light")}
SHIFTS = ("clean", "noise")


@dataclass(frozen=True)
class World:
    samples: pd.DataFrame
    groups: Groups
    scores: pd.DataFrame
    trials: pd.DataFrame
    index: pd.DataFrame


def make_samples(selection: int = 200, audit: int = 1000) -> pd.DataFrame:
    total = selection + audit
    position = np.arange(total)
    return pd.DataFrame(
        {
            "sample_id": position + 100,
            "split": np.where(position < selection, "selection", "audit"),
            "label": position % 2,
            "tone": np.where(position % 4 < 2, "dark", "light"),
        }
    )


def make_policy(**changes: object) -> Policy:
    limits = {
        "average": {"points": 3.0},
        "class": {"points": 5.0},
        "segment": {"points": 5.0},
        "intersection": {"points": 8.0},
    }
    return Policy.model_validate({"limits": limits, **changes})


@pytest.fixture(scope="session")
def policy() -> Policy:
    return make_policy()


@pytest.fixture(scope="session")
def build_world() -> Callable[..., World]:
    """Build a world in which trial ``i`` gets ``lost[i]`` boot answers wrong under noise.

    The float model is always right, and boots of the audit are lost first; the same number, scaled,
    is lost on the selection.
    """

    def build(lost: Sequence[int], **options: object) -> World:
        samples = make_samples()
        for name, values in options.pop("columns", {}).items():
            samples[name] = values
        groups = build_groups(samples, CLASSES, SEGMENTS)
        float_predictions = pd.concat(
            [samples[["sample_id"]].assign(shift=s, predicted=samples["label"]) for s in SHIFTS]
        )
        parts = []
        for trial, count in enumerate(lost):
            for shift in SHIFTS:
                predicted = samples["label"].to_numpy().copy()
                if shift == "noise":
                    for split, share in (("audit", 1.0), ("selection", 0.2)):
                        boots = (samples["split"] == split) & (samples["label"] == 0)
                        predicted[np.flatnonzero(boots)[: round(count * share)]] = 1
                part = samples[["sample_id"]].assign(
                    trial_id=f"trial-{trial:02d}", shift=shift, predicted=predicted
                )
                parts.append(part)
        index = pd.DataFrame(
            {
                "set_id": [f"set-{i:02d}" for i in range(len(lost))],
                "strategy": "random",
                "role": "evidence",
                "draw": range(len(lost)),
                "size": 32,
                "valid": True,
            }
        )
        trials = index[["set_id", "strategy", "role", "draw"]].assign(
            trial_id=[f"trial-{i:02d}" for i in range(len(lost))], status="done", error=""
        )
        scores = score(pd.concat(parts), float_predictions, groups, trials)
        return World(samples, groups, scores, trials, index)

    return build
