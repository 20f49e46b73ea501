"""Seconds and memory of one trial's quantization, per method: ResNet-20, 256 images, W2A4.

Usage, after the first line of ``make reconstruction``::

    python benchmarks/method_time.py [--methods NAME ...] [--threads N]

Each method runs in a process of its own, so that its peak memory is its own; evaluation is not part
of the figures. The last column says how many images OpenVINO answers in the processor time that one
calibration image takes.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

BITS = {"weight_bits": 2, "activation_bits": 4}
ROUNDS = 8
NAMES = ("nearest", "gptq", "adaround_cpu", "brecq_cpu", "qdrop_cpu")


def measure(name: str, threads: int) -> None:
    """Quantize once and print one row."""
    import torch
    from study_data import load_images, load_model, load_samples, rows_of

    from ptq_pipeline.models.loading import prepared_model
    from ptq_pipeline.ptq import as_tensor_batches, method_from_json, quantize_model
    from ptq_pipeline.runtimes import build_runtime

    torch.set_num_threads(threads)
    pool = rows_of(load_samples(), "pool")
    drawn = np.sort(np.random.default_rng(2303).choice(pool, 256, replace=False))
    images, model = load_images()[drawn], load_model("resnet20")
    prepared = prepared_model(model, (1, 28, 28))
    batches = as_tensor_batches(model.preprocessing(images))
    method = method_from_json({"name": name, **BITS})
    prepared.module(batches[0])
    # The peak of the imports is forgotten (proc(5)), so that it hides nothing.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _mebibytes("VmRSS")
    started, used = time.perf_counter(), time.process_time()
    parameters = quantize_model(prepared, batches, method, seed=0)
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    grown = _mebibytes("VmHWM") - before
    predict = build_runtime("openvino").compile(prepared, parameters)
    inputs = model.preprocessing(images)[:250]
    predict(inputs[:50])
    used = time.process_time()
    for _ in range(ROUNDS):
        for start in range(0, 250, 50):
            predict(inputs[start : start + 50])
    each = (time.process_time() - used) / ROUNDS / 250
    shown = f"{seconds:.1f} | {cpu:.1f} | {grown:.0f} | {cpu / 256 / each:.0f}"
    print(f"| {name} | {shown} |", flush=True)


def _mebibytes(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def main() -> None:
    """Measure every method in its own process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(NAMES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.alone:
        measure(asked.methods[0], asked.threads)
        return
    print(
        "| method | seconds | processor seconds | MiB above the start | images of inference |\n"
        "|---|---|---|---|---|",
        flush=True,
    )
    for name in asked.methods:
        options = ["--alone", "--threads", str(asked.threads), "--methods", name]
        subprocess.run([sys.executable, __file__, *options], check=True)


if __name__ == "__main__":
    main()
