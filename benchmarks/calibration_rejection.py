"""How often calibration sets are rejected: random ones by anything, others by what is for them.

Usage: ``python benchmarks/calibration_rejection.py [SETS]`` after ``kedro run --pipelines
data_loading``. It draws SETS fresh sets (default 500) per row with a seed that no audit uses and
prints the table of docs/calibration.md.

Features of noisy sets are computed from their noisy pixels, except those of the float model, which
are left as they were for the clean images: that can only lower the rates of noisy sets.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from rejection_rates import failures

from ptq_pipeline.calibration.parameters import CalibrationParameters, DrawPlan
from ptq_pipeline.calibration.strategies import parse_strategy
from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.calibration.thresholds import freeze_thresholds
from ptq_pipeline.calibration.validation import SetValidator, judged_hashes, stored_profile
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.profiling.features import image_features

ROOT = Path(__file__).parent.parent
SEED = 987_654_321
CASES = [
    ("random", {}, None),
    ("class_balanced", {}, None),
    *[("class_biased", {"strength": s}, "class_shares") for s in (0.1, 0.2, 0.3, 0.5, 0.7)],
    *[
        ("segment_biased", {"segment": "tone", "strength": s}, "tone_shares")
        for s in (0.1, 0.2, 0.3, 0.5, 0.7)
    ],
    *[("noisy", {"sigma": s}, "noise_distance") for s in (0.005, 0.01, 0.02, 0.05, 0.1)],
]


def main(sets: int) -> None:
    """Print the table."""
    data = ROOT / "data"
    samples = pd.read_parquet(data / "03_primary/samples.parquet")
    profiles = pd.read_parquet(data / "04_feature/profiles.parquet")
    images = np.load(data / "03_primary/images.npy", mmap_mode="r")
    definitions = GroupDefinitions.read(
        json.loads((data / "03_primary/group_definitions.json").read_text())
    )
    text = (ROOT / "conf/base/parameters_calibration.yml").read_text()
    parameters = CalibrationParameters.model_validate(yaml.safe_load(text)["calibration"])

    start = time.perf_counter()
    reference = profiles[profiles["split"] == "reference"]
    thresholds = freeze_thresholds(reference, definitions, parameters)
    print(f"thresholds: {time.perf_counter() - start:.1f} s\n")
    pool = Pool.from_samples(samples, definitions)
    validator = SetValidator(
        thresholds,
        parameters.set_size,
        definitions,
        judged_hashes(samples),
        stored_profile(profiles, image_features),
    )
    print("| strategy | options | fail any | fail the one meant for them |")
    print("|---|---|---|---|")
    for strategy, given, meant in CASES:
        failed = failures(
            pool,
            images,
            validator,
            DrawPlan(parse_strategy(strategy, given), parameters.set_size, SEED),
            sets,
        )
        options = ", ".join(f"{name} {value}" for name, value in given.items()) or "-"
        own = f"{100 * failed[meant].mean():.1f} % ({meant})" if meant else "-"
        print(f"| {strategy} | {options} | {100 * failed.any(axis=1).mean():.1f} % | {own} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
