"""How often drift alarms: on samples of the pool, of the calm and of the drifted production window.

Usage, after ``kedro run --pipelines data_loading``: ``python benchmarks/drift_alarm_rates.py
[--data data] [--samples 200]``. It prints the table in ``docs/drift.md``.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from ptq_pipeline.monitoring import DriftColumn, DriftSettings, distance, sampling_thresholds

SIZES = (256, 500, 2_000, 5_000)
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


def main() -> None:
    """Print distances of the whole windows, thresholds by size, and alarm rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--samples", type=int, default=200)
    arguments = parser.parse_args()
    settings = read_settings()
    profiles = pd.read_parquet(arguments.data / "04_feature/profiles.parquet")
    windows = pd.read_parquet(arguments.data / "04_feature/production_profiles.parquet")
    reference = profiles[profiles["split"] == "reference"]
    sources = {"pool": profiles[profiles["split"] == "pool"]}
    sources |= dict(list(windows.groupby("window")))

    whole = {
        name: {
            column.name: distance(column.method, reference[column.name], source[column.name])
            for column in settings.columns
        }
        for name, source in sources.items()
    }
    for size in SIZES:
        whole[f"chance at {size}"] = sampling_thresholds(reference, settings, size)
    print(pd.DataFrame(whole).round(3).to_string(), "\n")
    rates = [
        {
            "source": name,
            "rows": size,
            **alarm_rates(source, reference, settings, size, arguments.samples),
        }
        for name, source in sources.items()
        for size in SIZES
    ]
    print(pd.DataFrame(rates).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
