"""What a draw of an ImageNet-sized network costs in full and sampled; see docs/scaling.md.

Usage: ``python benchmarks/large_network.py [--images 64] [--network resnet50]``. A torchvision
network with random weights at W8A8 on one thread of OpenVINO, random images of 224 x 224 pixels.
Times are CPU seconds, which other work on the machine disturbs least; ``--measured`` takes those of
another machine. The plan is that of 50 draws, 3 shifts and 50,000 audit images, or of ``--draws``
and ``--audit``; what a sampled draw looks at follows from the room that the exact test leaves a
class of so many images, one of them lost.
"""

import argparse
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

SHIFTS, SET_SIZE = 3, 256
MEASURED = ("integer_s_per_image", "float_s_per_image", "ranges_s_per_image", "compile_s")
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


@dataclass(frozen=True)
class Study:
    """An audit of so many images and draws, where a draw's parts take so long.

    Attributes:
        seconds: What `measure` returns.
        audit: Audit images.
        draws: Calibration draws.
    """

    seconds: Mapping[str, float]
    audit: int
    draws: int

    @property
    def fixed(self) -> float:
        """Seconds of a draw before its first answer."""
        return self.seconds["compile_s"] + SET_SIZE * self.seconds["ranges_s_per_image"]

    @property
    def whole(self) -> float:
        """Seconds of a draw in full, which one worker runs."""
        return self.fixed + self.audit * SHIFTS * self.seconds["integer_s_per_image"]

    @property
    def floats(self) -> float:
        """Seconds of the float model, which one process runs before the first draw."""
        return self.audit * SHIFTS * self.seconds["float_s_per_image"]

    @property
    def total(self) -> float:
        """Seconds of one core for all draws in full."""
        return self.draws * self.whole + self.floats

    def sampled(self, classes: int, points: float) -> tuple[float, float, float]:
        """Share of a sampled draw's answers that are looked at, its seconds, and those of all."""
        n, level = self.audit // classes, split_budget(self.draws, 0.1, 0.05, SAMPLED).alpha_image
        room = int(rejection_region(n, points / 100, level).b_max[0]) - 1
        rest = 1 - SMALL_MARGINS
        share = float(cheapest_share([room], [int(rest * n)], SAMPLED.error)[0])
        share = SMALL_MARGINS + rest * share
        part = self.fixed + share * self.audit * SHIFTS * self.seconds["integer_s_per_image"]
        draws = SAMPLED.full * self.whole + (self.draws - SAMPLED.full) * part
        return share, part, draws + self.floats

    def on_hosts(self, workers: int) -> float:
        """Seconds until the last draw in full, each of which is one worker's."""
        return self.floats + -(-self.draws // workers) * self.whole


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--audit", type=int, default=50_000, help="audit images")
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--workers", type=int, default=640, help="cores of all hosts together")
    parser.add_argument("--price", type=float, default=0.05, help="of an hour of one core")
    parser.add_argument(
        *("--measured",), type=float, nargs=4, metavar=("INTEGER", "FLOAT", "RANGES", "COMPILE")
    )
    chosen = parser.parse_args()
    if chosen.measured:
        found = dict(zip(MEASURED, chosen.measured, strict=True))
    else:
        found = measure(chosen.network, chosen.images)
    print(f"{chosen.network}, {platform.machine()}, torch {torch.__version__}, CPU seconds:")
    print("  " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()))
    study = Study(found, chosen.audit, chosen.draws)
    hours, price = study.total / 3600, chosen.price
    print(f"  a draw in full {study.whole:,.0f} s; {study.draws} draws {hours:,.1f} h of one core")
    wall, floats = study.on_hosts(chosen.workers) / 3600, study.floats / 3600
    print(f"  {chosen.workers} workers: {wall:.1f} h, of which the float model {floats:.1f} h")
    print(f"  {hours * price:,.0f} at {price} an hour of one core")
    for classes, points in SETTINGS:
        share, part, total = study.sampled(classes, points)
        print(
            f"  {classes} classes of {study.audit // classes}, limit {points} points: a sampled "
            f"draw looks at {100 * share:.1f} % in {part:,.0f} s; {study.draws} draws "
            f"{total / 3600:,.1f} h, {study.total / total:.1f} times faster"
        )


if __name__ == "__main__":
    main()
