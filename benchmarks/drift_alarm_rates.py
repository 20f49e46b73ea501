"""How often drift alarms: on samples of the pool, of the calm and of the drifted production window.

Usage, after ``kedro run --pipelines data_loading``: ``python benchmarks/drift_alarm_rates.py
[--data data] [--samples 200] [--served] [--sizes 500 5000]``. It prints the table in
``docs/watch.md``. ``--served`` adds what only the served model says, its answers and clip rates, as
monitoring does: of a W8A8 model that is calibrated on 256 images of the pool. What a model says of
an image is computed once; the samples are drawn from that.
"""

import argparse
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.datasets import ImageWindowsDataset
from ptq_pipeline.images.source import decode_source
from ptq_pipeline.models import FloatModel, Preprocessing, load_float_model
from ptq_pipeline.monitoring.drift import sampling_thresholds
from ptq_pipeline.monitoring.measuring import with_served_columns
from ptq_pipeline.monitoring.parameters import DriftColumn, DriftParameters, MonitoringParameters
from ptq_pipeline.pipelines.data_loading.parameters import DataLoadingParameters
from ptq_pipeline.pipelines.drift.nodes import gather_window_profiles
from ptq_pipeline.statistics.distances import (
    WASSERSTEIN,
    distance,
    jensen_shannon,
    normed_wasserstein,
)

SIZES = (256, 500, 2_000, 5_000)
CALIBRATION_IMAGES = 256
ROOT = Path(__file__).parents[1]


def configured(group: str) -> dict[str, Any]:
    """Return a parameter group of the base environment."""
    path = ROOT / f"conf/base/parameters_{group}.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))[group]


@cache
def float_model() -> FloatModel:
    """Return the reference network."""
    return load_float_model(
        "ptq_pipeline.models.resnet20",
        ROOT / "data/06_models/reference/resnet20.safetensors",
        Preprocessing((0.286,), (0.353,)),
        [str(number) for number in range(10)],
    )


def read_sources(data: Path, served: bool) -> dict[str, pd.DataFrame]:
    """Return the profiles of reference, pool and production windows, one row per image."""
    profiles = pd.read_parquet(data / "04_feature/profiles.parquet")
    images = np.load(data / "03_primary/images.npy", mmap_mode="r")
    shape = list(images.shape[1:])
    windows = ImageWindowsDataset(str(ROOT / "data/01_raw/production"), shape).load()
    parameters = DriftParameters.model_validate(configured("drift"))
    production = gather_window_profiles(
        windows,
        float_model(),
        json.loads((data / "04_feature/feature_projection.json").read_text("utf-8")),
        GroupDefinitions.read(
            json.loads((data / "03_primary/group_definitions.json").read_text("utf-8"))
        ),
        DataLoadingParameters.model_validate(configured("data_loading")),
        parameters,
    )
    tables = {name: profiles[profiles["split"] == name] for name in ("reference", "pool")}
    pixels = {name: images[table["sample_id"].to_numpy()] for name, table in tables.items()}
    for name in parameters.windows:
        tables[name] = production[production["comparison"] == f"production_{name}"]
        pixels[name] = decode_source(windows[name]()).images if served else None
    if served:
        chosen = np.asarray(pixels["pool"][:CALIBRATION_IMAGES])
        said = served_columns(chosen)
        tables = {
            name: pd.concat([table.reset_index(drop=True), said(pixels[name])], axis=1)
            for name, table in tables.items()
        }
    return tables


def served_columns(calibration: np.ndarray) -> Callable[[np.ndarray], pd.DataFrame]:
    """Quantize by ``calibration`` images; return what gives answers and clip rates of others."""
    import torch

    from ptq_pipeline.monitoring.clipping import clip_rates
    from ptq_pipeline.ptq import MethodSpec, as_tensor_batches, calibrate, prepare
    from ptq_pipeline.runtimes import OpenvinoRuntime, predict_top1

    model = float_model()
    example = model.example_input(calibration.shape[1:])
    prepared = prepare(model.module, torch.from_numpy(example))
    batches = as_tensor_batches(model.preprocessing(calibration))
    parameters = calibrate(prepared, batches, MethodSpec())
    predictor = OpenvinoRuntime(threads=1).compile(prepared, parameters)

    def said(images: np.ndarray) -> pd.DataFrame:
        answers = predict_top1(predictor, images, model.preprocessing).astype(np.int64)
        return clip_rates(prepared, parameters, images, model.preprocessing).assign(served=answers)

    return said


def resampled_distance(
    column: DriftColumn, reference: pd.Series, source: pd.Series
) -> Callable[[np.ndarray], float]:
    """Return the distance to the reference by how often each row of ``source`` was drawn."""
    both = pd.concat([reference, source])
    numeric = column.method == WASSERSTEIN
    values = both.to_numpy(float) if numeric else both.astype(str).to_numpy(str)
    support, codes = np.unique(values, return_inverse=True)
    before = np.bincount(codes[: len(reference)], minlength=len(support)).astype(float)
    codes = codes[len(reference) :]

    def value(drawn: np.ndarray) -> float:
        now = np.bincount(codes, drawn, len(support))
        return normed_wasserstein(support, before, now) if numeric else jensen_shannon(before, now)

    return value


def alarm_rates(
    source: pd.DataFrame,
    reference: pd.DataFrame,
    settings: DriftParameters,
    chance: dict[str, float],
    size: int,
    samples: int,
) -> dict[str, float]:
    """Return the share of ``samples`` random subsets with an alarm, under three rules."""
    distances = {
        name: resampled_distance(column, reference[name], source[name])
        for name, column in settings.columns.items()
    }
    generator = np.random.default_rng([settings.seed, size, 1])
    alarms = np.zeros((samples, 3), bool)
    for sample in range(samples):
        rows = generator.choice(len(source), size, replace=size > len(source))
        drawn = np.bincount(rows, minlength=len(source))
        for name, of in distances.items():
            value = of(drawn)
            beyond = np.array([value >= settings.columns[name].threshold, value >= chance[name]])
            alarms[sample] |= [beyond.all(), *beyond]
    return dict(zip(("both", "material only", "chance only"), alarms.mean(0), strict=True))


def main() -> None:
    """Print distances of the whole windows, thresholds by size, and alarm rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--served", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    arguments = parser.parse_args()
    settings = DriftParameters.model_validate(configured("drift"))
    sources = read_sources(arguments.data, arguments.served)
    reference = sources.pop("reference")
    if arguments.served:
        added = MonitoringParameters.model_validate(configured("monitoring"))
        settings = with_served_columns(settings, reference, added)

    whole = {
        name: {
            column: distance(how.method, reference[column], source[column])
            for column, how in settings.columns.items()
        }
        for name, source in sources.items()
    }
    chance = {size: sampling_thresholds(reference, settings, size) for size in arguments.sizes}
    whole |= {f"chance at {size}": limits for size, limits in chance.items()}
    print(pd.DataFrame(whole).round(3).to_string(), "\n")
    rates = [
        {
            "source": name,
            "rows": size,
            **alarm_rates(source, reference, settings, chance[size], size, arguments.samples),
        }
        for name, source in sources.items()
        for size in arguments.sizes
    ]
    print(pd.DataFrame(rates).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
