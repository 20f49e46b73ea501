"""Which plausible drift does the float model survive, and a quantized champion not?

Usage: ``python benchmarks/drift_story_search.py [--images 2000] [--model resnet20] [--csv FILE]``.
It reads the embedded data only. A champion is calibrated on 256 held-out images through the camera
of its home and is then shown the calm production window through another camera; so is the same
method calibrated again on 256 images of that camera. The table shows drops in points against the
float model on the same images, of the average and of the worst class, and what the float model
itself loses from home to there.
"""

import argparse
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from ptq_pipeline.images.idx import read_idx
from ptq_pipeline.models import Preprocessing, load_float_model
from ptq_pipeline.models.loading import prepared_model
from ptq_pipeline.ptq import MethodSpec, as_tensor_batches, calibrate
from ptq_pipeline.runtimes import OpenvinoRuntime, predict_top1

RAW = Path(__file__).parents[1] / "data/01_raw"
WEIGHTS = Path(__file__).parents[1] / "data/06_models/reference"
CALIBRATION_IMAGES = 256
WORTH_SHOWING = 4.0
CHAMPIONS = {
    "W8A8 minmax": {},
    "W8A8 percentile": {"activation_range": "percentile"},
    "W8A8 mse": {"activation_range": "mse"},
    "W6A6 minmax": {"weight_bits": 6, "activation_bits": 6},
    "W4A8 minmax": {"weight_bits": 4},
    "W8A5 mse": {"activation_bits": 5, "activation_range": "mse"},
}
HOMES = {
    "gain 1": {},
    "gain 0.6": {"gain": 0.6},
    "gain 0.5": {"gain": 0.5},
    "gain 0.4": {"gain": 0.4},
}


def camera(gain: float = 1.0, gamma: float = 1.0, backdrop: float = 0.0) -> Callable:
    """Return a camera: exposure, tone curve, and a backdrop that is not black."""

    def photograph(images: np.ndarray) -> np.ndarray:
        scaled = np.clip((images / 255.0) ** gamma * gain, 0, 1)
        return np.rint(255 * (backdrop + (1 - backdrop) * scaled)).astype(np.uint8)

    return photograph


def cameras() -> dict[str, Callable]:
    """Return the cameras that are tried, by what they do."""
    settings = [
        {"gain": gain, "gamma": gamma, "backdrop": backdrop}
        for gain, gamma, backdrop in product((0.5, 0.75, 1, 1.5, 2), (0.6, 1, 1.5), (0, 0.05))
    ]
    return {" ".join(f"{k} {v}" for k, v in each.items()): camera(**each) for each in settings}


def drops(answers: np.ndarray, float_answers: np.ndarray, labels: np.ndarray) -> tuple:
    """Return the average drop and the worst class's, in points."""
    lost = (float_answers == labels).astype(int) - (answers == labels)
    by_class = [lost[labels == label].mean() for label in np.unique(labels)]
    return 100 * lost.mean(), 100 * max(by_class)


def main() -> None:
    """Print one row per model, camera and champion."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--csv", type=Path, help="keep every pair of the grid here")
    arguments = parser.parse_args()
    pool = read_idx(RAW / "fashion_mnist/heldout/images-idx3-ubyte.gz")[:, None]
    images = read_idx(RAW / "production/calm/images-idx3-ubyte.gz")[: arguments.images, None]
    labels = read_idx(RAW / "production/calm/labels-idx1-ubyte.gz")[: arguments.images]
    model = load_float_model(
        f"ptq_pipeline.models.{arguments.model}",
        WEIGHTS / f"{arguments.model}.safetensors",
        Preprocessing((0.286,), (0.353,)),
        [str(number) for number in range(10)],
    )

    prepared = prepared_model(model, images.shape[1:])
    runtime = OpenvinoRuntime(threads=1)

    def quantized(method: dict, pixels: np.ndarray):
        batches = as_tensor_batches(model.preprocessing(pixels))
        parameters = calibrate(prepared, batches, MethodSpec.from_json(method))
        return runtime.compile(prepared, parameters)

    float_model = runtime.compile(prepared, None)
    rows, answered = [], {}
    for home, options in HOMES.items():
        here = camera(**options)
        at_home = (predict_top1(float_model, here(images), model.preprocessing) == labels).mean()
        at_hand = here(pool[:CALIBRATION_IMAGES])
        champions = {name: quantized(method, at_hand) for name, method in CHAMPIONS.items()}
        for name, photograph in cameras().items():
            seen = photograph(images)
            expected = predict_top1(float_model, seen, model.preprocessing)
            float_loss = 100 * (at_home - (expected == labels).mean())
            if float_loss >= 5:
                continue
            for champion, method in CHAMPIONS.items():
                answers = predict_top1(champions[champion], seen, model.preprocessing)
                average, worst = drops(answers, expected, labels)
                row = {"home": home, "camera": name, "float loses": float_loss}
                row |= {"champion": champion, "drop": average, "worst class": worst}
                if worst >= WORTH_SHOWING:
                    # The same for every home.
                    if (name, champion) not in answered:
                        fresh = quantized(method, photograph(pool[-CALIBRATION_IMAGES:]))
                        answers = predict_top1(fresh, seen, model.preprocessing)
                        answered[name, champion] = drops(answers, expected, labels)
                    average, worst = answered[name, champion]
                    row |= {"requantized drop": average, "its worst class": worst}
                rows.append(row)
    table = pd.DataFrame(rows).sort_values("drop", ascending=False)
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)
    print(f"{len(table)} pairs with a float model that loses less than 5 points")
    print(table[table["worst class"] >= WORTH_SHOWING].round(2).to_string(index=False))


if __name__ == "__main__":
    main()
