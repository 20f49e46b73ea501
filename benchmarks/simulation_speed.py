"""Whether channels-last memory and compiled graphs pay in the simulated runtime; see docs/speed.md.

Usage, after ``kedro run --pipelines data_loading``: ``python benchmarks/simulation_speed.py
[--device cpu] [--images 2000]``. One quantized ResNet-20 (W8A8) answers the same images, by turns;
compiling is timed apart, because a trial has a graph of its own.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch

from ptq_pipeline.models import Preprocessing, load_float_model
from ptq_pipeline.models.loading import prepared_model
from ptq_pipeline.ptq import MethodSpec, as_tensor_batches, calibrate
from ptq_pipeline.runtimes.simulated import SimulatedRuntime

ROOT = Path(__file__).parents[1]
BATCH, ROUNDS = 50, 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=2_000)
    arguments = parser.parse_args()
    preprocessing = Preprocessing((0.286,), (0.353,))
    model = load_float_model(
        "ptq_pipeline.models.resnet20",
        ROOT / "data/06_models/reference/resnet20.safetensors",
        preprocessing,
        [str(number) for number in range(10)],
    )
    images = np.load(ROOT / "data/03_primary/images.npy", mmap_mode="r")[: arguments.images]
    prepared = prepared_model(model, images.shape[1:])
    parameters = calibrate(
        prepared, as_tensor_batches(preprocessing(images[:256])), MethodSpec(8, 8)
    )
    plain = SimulatedRuntime(arguments.device).compile(prepared, parameters).module
    batches = torch.from_numpy(preprocessing(images)).to(arguments.device).split(BATCH)
    last = [batch.contiguous(memory_format=torch.channels_last) for batch in batches]
    ways = {"plain": (plain, batches), "channels last": (plain, last)}
    compiling = dict.fromkeys(ways, 0.0)
    started = time.perf_counter()
    compiled = torch.compile(plain)
    with torch.inference_mode():
        compiled(batches[0])
    ways["compiled"] = (compiled, batches)
    compiling["compiled"] = time.perf_counter() - started
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    answers = {}
    for _ in range(ROUNDS):
        for name, (module, given) in ways.items():
            started = time.perf_counter()
            with torch.inference_mode():
                answers[name] = torch.cat([module(batch).argmax(1) for batch in given]).cpu()
            seconds[name].append(time.perf_counter() - started)
    rows = [
        {
            "way": name,
            "to compile, s": round(compiling[name], 2),
            "median s": round(median(seconds[name]), 3),
            "spread s": f"{min(seconds[name]):.3f}-{max(seconds[name]):.3f}",
            "same answers": float((answers[name] == answers["plain"]).float().mean()),
        }
        for name in ways
    ]
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
