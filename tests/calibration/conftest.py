from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.calibration.parameters import CalibrationParameters
from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.calibration.thresholds import Thresholds, freeze_thresholds
from ptq_pipeline.calibration.validation import Profile, stored_profile
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.images.idx import read_idx
from ptq_pipeline.images.source import content_hashes
from ptq_pipeline.profiling.features import IMAGE_FEATURES, image_features
from ptq_pipeline.profiling.segments import SegmentRule, cut_segment, define_segment

RAW = Path(__file__).parents[2] / "data/01_raw/fashion_mnist"
CLASSES = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat"]
CLASSES += ["Sandal", "Shirt", "Sneaker", "Bag", "Boot"]
RULES = {
    "tone": SegmentRule("foreground_brightness", (1 / 3, 2 / 3), ("dark", "mid", "light")),
    "size": SegmentRule("foreground_share", (1 / 3, 2 / 3), ("small", "medium", "large")),
}
SIZE = 256


@dataclass(frozen=True)
class Material:
    """Real images as data_loading hands them over, without a float model."""

    images: np.ndarray
    samples: pd.DataFrame
    profiles: pd.DataFrame
    definitions: GroupDefinitions
    pool: Pool
    thresholds: Thresholds
    profile: Profile


@pytest.fixture(scope="session")
def material() -> Material:
    images = read_idx(RAW / "heldout/images-idx3-ubyte.gz")[:, None]
    labels = read_idx(RAW / "heldout/labels-idx1-ubyte.gz").astype(np.int64)
    judged = read_idx(RAW / "test/images-idx3-ubyte.gz")[:200, None]
    labels = np.concatenate([labels, read_idx(RAW / "test/labels-idx1-ubyte.gz")[:200]])
    images = np.concatenate([images, judged])
    split = ["pool"] * 7000 + ["reference"] * 4000 + ["selection"] * 100 + ["audit"] * 100
    table = pd.DataFrame({"sample_id": np.arange(len(images)), "split": split, "label": labels})
    features = image_features(images)
    cuts = {
        name: define_segment(rule, name, features[rule.feature][:7000])
        for name, rule in RULES.items()
    }
    segments = {name: cut_segment(cut, features[cut.feature]) for name, cut in cuts.items()}
    samples = table.assign(content_hash=content_hashes(images), **segments)
    profiles = pd.concat([table, features], axis=1).assign(**segments)
    definitions = GroupDefinitions(classes=tuple(CLASSES), segments=cuts)
    thresholds = freeze_thresholds(
        profiles[profiles["split"] == "reference"],
        definitions,
        CalibrationParameters(
            seed=1,
            set_size=SIZE,
            validation={
                "family_wise_level": 0.03,
                "simulated_draws": 4000,
                "features": IMAGE_FEATURES,
            },
        ),
    )
    return Material(
        images,
        samples,
        profiles,
        definitions,
        Pool.from_samples(samples, definitions),
        thresholds,
        stored_profile(profiles, image_features),
    )
