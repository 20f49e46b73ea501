"""How often drift alarms: on samples of the pool, of the calm and of the drifted production window.

Usage, after ``kedro run --pipelines data_loading``: ``python benchmarks/drift_alarm_rates.py
[--data data] [--samples 200] [--served] [--sizes 500 5000]``. It prints the table in
``docs/drift.md``. ``--served`` adds what only the served model says, its answers and clip rates, as
monitoring does: of a W8A8 model that is calibrated on 256 images of the pool.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from ptq_pipeline.monitoring import DriftColumn, DriftSettings, distance, sampling_thresholds
from ptq_pipeline.monitoring.measuring import with_served_columns

SIZES = (256, 500, 2_000, 5_000)
CALIBRATION_IMAGES = 256
PARAMETERS = Path(__file__).parents[1] / "conf/base/parameters_drift.yml"


def read_settings() -> DriftSettings:
    """Return the settings of the base environment."""
    drift = yaml.safe_load(PARAMETERS.read_text(encoding="utf-8"))["drift"]
    columns = tuple(DriftColumn(name, **column) for name, column in drift["columns"].items())
    return DriftSettings(columns, drift["alpha"], drift["resamples"], drift["seed"])


def alarm_rates(
    source: pd.DataFrame,
    reference: pd.DataFrame,
    settings: DriftSettings,
    size: int,
    samples: int,
) -> dict[str, float]:
    """Return the share of ``samples`` random subsets with an alarm, under three rules."""
    chance = sampling_thresholds(reference, settings, size)
    generator = np.random.default_rng([settings.seed, size, 1])
    alarms = np.zeros((samples, 3), bool)
    for sample in range(samples):
        rows = generator.choice(len(source), size, replace=size > len(source))
        current = source.iloc[rows]
        for column in settings.columns:
            name = column.name
            value = distance(column.method, reference[name], current[name])
            beyond = np.array([value >= column.threshold, value >= chance[name]])
            alarms[sample] |= [beyond.all(), *beyond]
    return dict(zip(("both", "material only", "chance only"), alarms.mean(0), strict=True))


def served_columns(data: Path, tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables with answers and clip rates of a model that was quantized on the pool.

    Args:
        data: the data folder.
        tables: ``reference``, ``pool`` and the production windows.
    """
    import torch

    from ptq_pipeline.datasets import ProductionArchiveDataset
    from ptq_pipeline.images import decode_source
    from ptq_pipeline.models import Preprocessing, load_float_model
    from ptq_pipeline.monitoring.clipping import clip_rates
    from ptq_pipeline.ptq import MethodSpec, as_tensor_batches, calibrate, prepare
    from ptq_pipeline.runtimes import OpenvinoRuntime, predict_top1

    model = load_float_model(
        "ptq_pipeline.models.resnet20",
        PARAMETERS.parents[2] / "data/06_models/reference/resnet20.safetensors",
        Preprocessing((0.286,), (0.353,)),
        [str(number) for number in range(10)],
    )
    images = np.load(data / "03_primary/images.npy", mmap_mode="r")
    raw = PARAMETERS.parents[2] / "data/01_raw/production"
    archive = ProductionArchiveDataset(str(raw), list(images.shape[1:])).load()
    prepared = prepare(model.module, torch.from_numpy(model.example_input(tuple(images.shape[1:]))))
    chosen = images[tables["pool"]["sample_id"].to_numpy()[:CALIBRATION_IMAGES]]
    batches = as_tensor_batches(model.preprocessing(np.asarray(chosen)))
    parameters = calibrate(prepared, batches, MethodSpec())
    served = OpenvinoRuntime(threads=2).compile(prepared, parameters)
    found = {}
    for name, table in tables.items():
        stored = name in ("reference", "pool")
        pixels = (
            images[table["sample_id"].to_numpy()]
            if stored
            else decode_source(archive[name]()).images
        )
        added = clip_rates(prepared, parameters, pixels, model.preprocessing)
        added["served"] = predict_top1(served, pixels, model.preprocessing).astype(np.int64)
        found[name] = pd.concat([table.reset_index(drop=True), added], axis=1)
    return found


def main() -> None:
    """Print distances of the whole windows, thresholds by size, and alarm rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--served", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    arguments = parser.parse_args()
    settings = read_settings()
    profiles = pd.read_parquet(arguments.data / "04_feature/profiles.parquet")
    windows = pd.read_parquet(arguments.data / "04_feature/production_profiles.parquet")
    sources = {name: profiles[profiles["split"] == name] for name in ("reference", "pool")}
    sources |= dict(list(windows.groupby("window")))
    if arguments.served:
        sources = served_columns(arguments.data, sources)
        settings = with_served_columns(settings, sources["reference"], 0.1, 0.5)
    reference = sources.pop("reference")

    whole = {
        name: {
            column.name: distance(column.method, reference[column.name], source[column.name])
            for column in settings.columns
        }
        for name, source in sources.items()
    }
    for size in arguments.sizes:
        whole[f"chance at {size}"] = sampling_thresholds(reference, settings, size)
    print(pd.DataFrame(whole).round(3).to_string(), "\n")
    rates = [
        {
            "source": name,
            "rows": size,
            **alarm_rates(source, reference, settings, size, arguments.samples),
        }
        for name, source in sources.items()
        for size in arguments.sizes
    ]
    print(pd.DataFrame(rates).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
