"""What a draw of an ImageNet-sized network costs in full and sampled; see docs/scaling.md.

Usage: ``python benchmarks/large_network.py [--images 64] [--network resnet50]``. A torchvision
network with random weights at W8A8 on one thread of OpenVINO, random images of 224 x 224 pixels.
Times are CPU seconds, which other work on the machine disturbs least. The plan is that of 50 draws,
3 shifts and 50,000 audit images; what a sampled draw looks at follows from the room that the exact
test leaves a class of so many images, one of them lost.
"""

import argparse
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from safetensors.torch import save_file

from ptq_pipeline.judgement.policy import SAMPLED
from ptq_pipeline.judgement.sampling import SMALL_MARGINS
from ptq_pipeline.models import Preprocessing, load_float_model
from ptq_pipeline.ptq import MethodSpec
from ptq_pipeline.runtimes import build_runtime, predict_top1
from ptq_pipeline.statistics.draws import split_budget
from ptq_pipeline.statistics.paired import rejection_region
from ptq_pipeline.statistics.sampling import cheapest_share
from ptq_pipeline.trials.workload import Workload

DRAWS, SHIFTS, AUDIT, SET_SIZE = 50, 3, 50_000, 256
# Classes, and their limits in points.
SETTINGS = ((1000, 20), (1000, 30), (100, 6), (100, 10), (10, 2))
METHOD = MethodSpec(8, 8)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a call, and what it returns."""
    started = time.process_time()
    found = call()
    return time.process_time() - started, found


def measure(network: str, count: int) -> dict[str, float]:
    """CPU seconds of the parts of a draw, and the largest memory of this process."""
    torch.manual_seed(0)
    module = getattr(torchvision.models, network)(weights=None)
    preprocessing = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    images = np.random.default_rng(0).integers(0, 256, (count, 3, 224, 224), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        save_file(module.state_dict(), weights)
        names = [str(number) for number in range(1000)]
        model = load_float_model(f"torchvision.models.{network}", weights, preprocessing, names)
        runtime = build_runtime("openvino", threads=1)
        work = Workload(model, runtime, (3, 224, 224), statistics_folder=Path(folder) / "ranges")
        work.prepared  # noqa: B018
        first, _ = timed(lambda: work.quantize(METHOD, images[:2], 0))
        ranges, parameters = timed(lambda: work.quantize(METHOD, images, 0))
        compiling = min(timed(lambda: runtime.compile(work.prepared, parameters))[0] for _ in "ab")
        predictor = runtime.compile(work.prepared, parameters)
        plain = runtime.compile(work.prepared, None)
        predict_top1(predictor, images[:8], preprocessing, batch_size=8)
        answers, _ = timed(lambda: predict_top1(predictor, images, preprocessing, batch_size=8))
        floats, _ = timed(lambda: predict_top1(plain, images, preprocessing, batch_size=8))
    return {
        "quantize_weights_s": first,
        "ranges_s_per_image": ranges / (count - 2),
        "compile_s": compiling,
        "integer_s_per_image": answers / count,
        "float_s_per_image": floats / count,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def looked_at(classes: int, points: float) -> float:
    """Share of a sampled draw's answers that are looked at."""
    n, level = AUDIT // classes, split_budget(DRAWS, 0.1, 0.05, SAMPLED).alpha_image
    room = int(rejection_region(n, points / 100, level).b_max[0]) - 1
    rest = 1 - SMALL_MARGINS
    share = float(cheapest_share([room], [int(rest * n)], SAMPLED.error)[0])
    return SMALL_MARGINS + rest * share


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--network", default="resnet50")
    chosen = parser.parse_args()
    found = measure(chosen.network, chosen.images)
    print(f"{chosen.network}, {platform.machine()}, torch {torch.__version__}, CPU seconds:")
    print("  " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()))
    answers = AUDIT * SHIFTS
    fixed = found["compile_s"] + SET_SIZE * found["ranges_s_per_image"]
    whole = fixed + answers * found["integer_s_per_image"]
    floats = answers * found["float_s_per_image"]
    print(f"  a draw in full {whole:,.0f} s; {DRAWS} draws {(DRAWS * whole + floats) / 3600:.1f} h")
    for classes, points in SETTINGS:
        share = looked_at(classes, points)
        part = fixed + share * answers * found["integer_s_per_image"]
        total = SAMPLED.full * whole + (DRAWS - SAMPLED.full) * part + floats
        print(
            f"  {classes} classes of {AUDIT // classes}, limit {points} points: a sampled draw "
            f"looks at {100 * share:.1f} % in {part:,.0f} s; {DRAWS} draws {total / 3600:.1f} h, "
            f"{(DRAWS * whole + floats) / total:.1f} times faster"
        )


if __name__ == "__main__":
    main()
