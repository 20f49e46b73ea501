"""What profiling costs on idle cores and beside two other processes that are always busy.

Usage: ``python benchmarks/profiling_beside_others.py``. The float model answers 4,000 images of
noise as `data_loading` lets it, batches side by side, and as torch does by itself, with threads
within each operator. Both are timed with and without two busy processes. Needs the cores of this
machine for itself.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from ptq_pipeline.models import FloatModel, Preprocessing, resnet20, run_in_batches

BATCH = 32


def busy() -> None:
    """Never wait."""
    while True:
        pass


def within_operators(model: FloatModel, images: np.ndarray) -> None:
    """Run batch after batch, each on all threads of torch."""
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            model.module(torch.from_numpy(model.preprocessing(images[start : start + BATCH])))


def timed(run: Callable[[FloatModel, np.ndarray], object], count: int) -> tuple[float, float]:
    """Return seconds by the clock and processor seconds of a second run."""
    model = FloatModel(
        resnet20().eval().requires_grad_(False), Preprocessing((0.286,), (0.353,)),
        tuple("abcdefghij"), "random",
    )  # fmt: skip
    images = np.random.default_rng(0).integers(0, 256, (count, 1, 28, 28)).astype(np.uint8)
    run(model, images[:BATCH])
    clock, processor = time.perf_counter(), time.process_time()
    run(model, images)
    return time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4000)
    count = parser.parse_args().images
    say = sys.stdout.write
    say(f"{os.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    say("| | quiet | beside two busy processes | ratio | processor seconds |\n")
    say("|---|---|---|---|---|\n")
    ways = {"batches side by side": run_in_batches, "threads within operators": within_operators}
    for name, run in ways.items():
        quiet, _ = timed(run, count)
        others = [multiprocessing.Process(target=busy, daemon=True) for _ in range(2)]
        for each in others:
            each.start()
        beside, processor = timed(run, count)
        for each in others:
            each.terminate()
        ratio = beside / quiet
        say(f"| {name} | {quiet:.1f} s | {beside:.1f} s | {ratio:.1f} | {processor:.1f} |\n")


if __name__ == "__main__":
    main()
