"""Whether the simulated runtime answers on CUDA as on the processor, and how fast.

Usage, where PyTorch sees a CUDA device: ``python benchmarks/cuda_check.py [--images 10000]
[--device cuda] [--output benchmarks/cuda_check.json]``. The reference ResNet-20 at W8A8 and W4A4
answers the test images that are in git. A difference in the last bit may move a value over the edge
of a quantization step, so answers are compared: where they differ, the processor must hardly have
preferred its own. With tensor float 32, which PyTorch allows by itself, and without.
"""

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.idx import read_idx
from ptq_pipeline.models import Preprocessing, load_float_model
from ptq_pipeline.models.loading import prepared_model
from ptq_pipeline.ptq import MethodSpec, as_tensor_batches, calibrate
from ptq_pipeline.runtimes import Predictor
from ptq_pipeline.runtimes.simulated import SimulatedRuntime

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "data/01_raw/fashion_mnist/test/images-idx3-ubyte.gz"
WEIGHTS = ROOT / "data/06_models/reference/resnet20.safetensors"
BITS = ((8, 8), (4, 4))
CALIBRATION, BATCH = 256, 500
# Share of the largest logit by which an answer that differs may have been preferred.
TOLERANCE = 1e-2


def answer(predictor: Predictor, images: np.ndarray) -> tuple[np.ndarray, float]:
    """Return logits ``(N, classes)`` and images per second, after a batch that warms up."""
    predictor(images[:BATCH])
    started = time.perf_counter()
    found = [predictor(images[at : at + BATCH]) for at in range(0, len(images), BATCH)]
    return np.concatenate(found), len(images) / (time.perf_counter() - started)


def compare(expected: np.ndarray, found: np.ndarray) -> dict[str, float | bool]:
    """Compare two models' logits ``(N, classes)``."""
    scale, rows = float(np.abs(expected).max()), np.arange(len(expected))
    other = found.argmax(1)
    preferred = (expected.max(1) - expected[rows, other]) / scale
    return {
        "same_answers": round(float((expected.argmax(1) == other).mean()), 6),
        "largest_difference": float(f"{np.abs(expected - found).max() / scale:.3g}"),
        "most_preferred_where_different": float(f"{preferred.max():.3g}"),
        "equal": bool(preferred.max() <= TOLERANCE),
    }


def measure(device: str, images: np.ndarray) -> list[dict]:
    """One row per width and setting of tensor float 32."""
    preprocessing = Preprocessing((0.286,), (0.353,))
    names = [str(number) for number in range(10)]
    model = load_float_model("ptq_pipeline.models.resnet20", WEIGHTS, preprocessing, names)
    prepared, given = prepared_model(model, images.shape[1:]), preprocessing(images)
    rows = []
    for bits in BITS:
        batches = as_tensor_batches(given[:CALIBRATION])
        parameters = calibrate(prepared, batches, MethodSpec(*bits))
        expected, here = answer(SimulatedRuntime("cpu").compile(prepared, parameters), given)
        for tf32 in (False, True):
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            found, there = answer(SimulatedRuntime(device).compile(prepared, parameters), given)
            peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
            rows.append(
                {
                    **{"recipe": f"W{bits[0]}A{bits[1]}", "tf32": tf32},
                    **compare(expected, found),
                    "images_per_second": round(there),
                    "images_per_second_cpu": round(here),
                    "peak_memory_mb": round(peak / 2**20, 1),
                }
            )
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/cuda_check.json")
    chosen = parser.parse_args()
    try:
        SimulatedRuntime(chosen.device)
    except InputError as error:
        sys.exit(f"nothing was measured: {error}; run this where PyTorch sees a CUDA device")
    images = np.asarray(read_idx(IMAGES))[: chosen.images, None]
    on_cuda = chosen.device.startswith("cuda")
    found = {
        "device": torch.cuda.get_device_name() if on_cuda else chosen.device,
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "cpu": platform.processor() or platform.machine(),
        "images": len(images),
        "rows": measure(chosen.device, images),
    }
    chosen.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))
    if not all(row["equal"] for row in found["rows"]):
        sys.exit("answers differ by more than rounding explains")


if __name__ == "__main__":
    main()
