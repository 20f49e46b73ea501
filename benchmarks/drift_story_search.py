"""Which plausible drift does the float model survive, and a quantized champion not?

Usage: ``python benchmarks/drift_story_search.py [--images 2000]``. It reads the embedded data only.
Champions are calibrated on 256 held-out images as they are; each is then shown the calm production
window through another camera, and so is the same method calibrated anew on 256 such images. The
table shows drops in points against the float model on the same images: of the average, and of the
worst class.
"""

import argparse
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from ptq_pipeline.images.idx import read_idx
from ptq_pipeline.models import Preprocessing, load_float_model
from ptq_pipeline.ptq import MethodSpec, as_tensor_batches, calibrate, prepare
from ptq_pipeline.runtimes import OpenvinoRuntime, predict_top1

RAW = Path(__file__).parents[1] / "data/01_raw"
WEIGHTS = Path(__file__).parents[1] / "data/06_models/reference"
CALIBRATION_IMAGES = 256
CHAMPIONS = {
    "W8A8 minmax": {},
    "W8A8 percentile": {"activation_range": "percentile"},
    "W8A8 mse": {"activation_range": "mse"},
    "W6A6 minmax": {"weight_bits": 6, "activation_bits": 6},
    "W6A6 mse": {"weight_bits": 6, "activation_bits": 6, "activation_range": "mse"},
    "W8A5 minmax": {"activation_bits": 5},
    "W8A4 mse": {"activation_bits": 4, "activation_range": "mse"},
}


def camera(gain: float = 1.0, gamma: float = 1.0, backdrop: float = 0.0) -> Callable:
    """Return a camera: exposure, tone curve, and a backdrop that is not black."""

    def photograph(images: np.ndarray) -> np.ndarray:
        scaled = np.clip((images / 255.0) ** gamma * gain, 0, 1)
        return np.rint(255 * (backdrop + (1 - backdrop) * scaled)).astype(np.uint8)

    return photograph


def cameras() -> dict[str, Callable]:
    """Return the cameras that are tried, by what they do."""
    settings = {"as they are": {}}
    for gain, gamma, backdrop in product((1, 0.6, 1.5, 2), (1, 0.6, 1.5), (0, 0.1, 0.2)):
        if (gain, gamma, backdrop) != (1, 1, 0):
            name = f"gain {gain}, gamma {gamma}, backdrop {backdrop}"
            settings[name] = {"gain": gain, "gamma": gamma, "backdrop": backdrop}
    return {name: camera(**options) for name, options in settings.items()}


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
    import torch

    prepared = prepare(model.module, torch.from_numpy(model.example_input(images.shape[1:])))
    runtime = OpenvinoRuntime(threads=1)

    def quantized(method: dict, pixels: np.ndarray):
        batches = as_tensor_batches(model.preprocessing(pixels[:CALIBRATION_IMAGES]))
        parameters = calibrate(prepared, batches, MethodSpec.from_json(method))
        return runtime.compile(prepared, parameters)

    float_model = runtime.compile(prepared, None)
    champions = {name: quantized(method, pool) for name, method in CHAMPIONS.items()}
    rows = []
    clean = (predict_top1(float_model, images, model.preprocessing) == labels).mean()
    for name, photograph in cameras().items():
        seen, new_pool = photograph(images), photograph(pool[-CALIBRATION_IMAGES:])
        expected = predict_top1(float_model, seen, model.preprocessing)
        float_loss = 100 * (clean - (expected == labels).mean())
        if float_loss >= 5:
            rows.append({"camera": name, "float loses": float_loss})
            continue
        for champion, method in CHAMPIONS.items():
            old = predict_top1(champions[champion], seen, model.preprocessing)
            new = predict_top1(quantized(method, new_pool), seen, model.preprocessing)
            average, worst = drops(old, expected, labels)
            new_average, new_worst = drops(new, expected, labels)
            rows.append(
                {
                    "camera": name,
                    "float loses": float_loss,
                    "champion": champion,
                    "drop": average,
                    "worst class": worst,
                    "requantized drop": new_average,
                    "its worst class": new_worst,
                }
            )
    table = pd.DataFrame(rows).sort_values("drop", ascending=False)
    print(table.round(2).to_string(index=False))


if __name__ == "__main__":
    main()
