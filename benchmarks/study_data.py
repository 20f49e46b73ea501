"""What the studies of methods share: tables as ``conf/study/reconstruction`` has them, models.

Tables and images are those of ``kedro run --env study/reconstruction --pipelines
data_loading``.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from ptq_pipeline.models import FloatModel, Preprocessing, load_float_model

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data/reconstruction"


def load_samples() -> pd.DataFrame:
    """Return sample ids, splits and labels."""
    return pd.read_parquet(DATA / "03_primary/samples.parquet")


def load_images() -> np.ndarray:
    """Return the images of all samples, memory-mapped."""
    return np.load(DATA / "03_primary/images.npy", mmap_mode="r")


def rows_of(samples: pd.DataFrame, split: str) -> np.ndarray:
    """Return the ids of a split's samples in their order."""
    return np.sort(samples.loc[samples["split"] == split, "sample_id"].to_numpy())


def load_model(name: str) -> FloatModel:
    """Return a committed reference model."""
    return load_float_model(
        factory=f"ptq_pipeline.models.{name}",
        weights=ROOT / f"data/06_models/reference/{name}.safetensors",
        preprocessing=Preprocessing((0.286,), (0.353,)),
        classes=[str(label) for label in range(10)],
    )


def load_study(name: str) -> dict:
    """Return what ``benchmarks/reconstruction/NAME.yml`` says."""
    path = ROOT / f"benchmarks/reconstruction/{name}.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return average and worst-class accuracy."""
    right = pd.Series(predicted == labels)
    return float(right.mean()), float(right.groupby(labels).mean().min())
