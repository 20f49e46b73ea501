"""Profiles of the embedded images: pixel features only, so no model has to run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ptq_pipeline.images.idx import read_idx
from ptq_pipeline.monitoring.parameters import DriftColumn, DriftParameters
from ptq_pipeline.profiling.features import IMAGE_FEATURES, image_features

RAW = Path(__file__).parents[2] / "data" / "01_raw"


def _profiles(folder: str, rows: slice) -> pd.DataFrame:
    images = read_idx(RAW / folder / "images-idx3-ubyte.gz")[rows]
    labels = read_idx(RAW / folder / "labels-idx1-ubyte.gz")[rows]
    frame = image_features(images[:, None])
    tone = np.searchsorted([0.25, 0.35], frame["brightness"])
    return frame.assign(
        label=labels.astype(np.int64), tone=np.array(["dark", "mid", "light"])[tone]
    )


def column(method: str, threshold: float = 0.1, **options) -> DriftColumn:
    return DriftColumn(method=method, threshold=threshold, **options)


def compared(columns, **settings) -> DriftParameters:
    return DriftParameters(columns=columns, **{"alpha": 0.05, "windows": (), **settings})


@pytest.fixture(scope="session")
def reference() -> pd.DataFrame:
    return _profiles("fashion_mnist/heldout", slice(0, 4000))


@pytest.fixture(scope="session")
def pool() -> pd.DataFrame:
    return _profiles("fashion_mnist/heldout", slice(4000, None))


@pytest.fixture(scope="session")
def calm() -> pd.DataFrame:
    return _profiles("production/calm", slice(None))


@pytest.fixture(scope="session")
def drifted() -> pd.DataFrame:
    return _profiles("production/drifted", slice(None))


@pytest.fixture(scope="session")
def settings() -> DriftParameters:
    columns = {"label": column("jensenshannon", optional=True), "tone": column("jensenshannon")}
    columns |= {name: column("wasserstein") for name in IMAGE_FEATURES}
    return compared(columns, resamples=400, seed=7)
