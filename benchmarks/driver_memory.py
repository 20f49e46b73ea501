"""What the driver holds of a study, and what the trial store holds, by number of draws.

    python benchmarks/driver_memory.py --images 10000 --draws 100 400 --changed 0.01

Answers are drawn at random; a quantized model's differ from the float model's in a share of them,
at positions of its own. Each number of draws is measured in a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from ptq_pipeline.core.grouping import build_groups
from ptq_pipeline.core.outcomes import Outcomes, tally
from ptq_pipeline.ptq import MethodSpec
from ptq_pipeline.trials.evaluation import Evaluation
from ptq_pipeline.trials.trial import TrialSpec, TrialStore, predictions_table

SHIFTS, CLASSES = ("clean", "noise", "blur"), 10


def peak() -> float:
    """Megabytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def measure(images: int, draws: int, changed: float) -> dict[str, float]:
    """Store the answers of all draws, make one table of them and score it."""
    rng = np.random.default_rng(0)
    samples = pd.DataFrame(
        {
            **{"sample_id": np.arange(images), "split": "audit"},
            **{"label": np.arange(images) % CLASSES},
        }
    )
    groups = build_groups(samples, [str(each) for each in range(CLASSES)], {})
    spec = TrialSpec("m", None, None, "e", {name: {} for name in SHIFTS}, {"name": "o"}, "3")
    of_float = {name: rng.integers(0, CLASSES, images).astype(np.int32) for name in SHIFTS}
    before = peak()
    evaluation = Evaluation(samples, {}, {})
    with tempfile.TemporaryDirectory() as folder:
        store = TrialStore(Path(folder))
        done = [(store.put(spec, of_float), evaluation)]
        whole = store.path(spec).stat().st_size
        for draw in range(draws):
            answers = {}
            for name, reference in of_float.items():
                at = rng.random(images) < changed
                other = (reference + rng.integers(1, CLASSES, images)) % CLASSES
                answers[name] = np.where(at, other, reference).astype(np.int32)
            own = TrialSpec("m", MethodSpec(), f"s{draw}", "e", spec.shifts, {"name": "o"}, "3")
            done.append((store.put(own, answers), evaluation))
        stored = sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))
    held = peak() - before
    started = time.process_time()
    table = predictions_table(done[1:])
    seconds = time.process_time() - started
    reference = predictions_table(done[:1]).drop(columns="trial_id")
    started = time.process_time()
    outcomes = Outcomes.pair(table, reference, groups)
    tally(outcomes)
    return {
        "draws": draws,
        "million answers": len(table) / 1e6,
        "store MB": stored / 1e6,
        "store MB if whole": whole * (draws + 1) / 1e6,
        "outcomes MB": held,
        "peak MB": peak() - before,
        "table s": seconds,
        "scores s": time.process_time() - started,
    }


def main() -> None:
    """Print a row per number of draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--draws", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--changed", type=float, default=0.01)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.images, asked.draws[0], asked.changed)))
        return
    rows = []
    for draws in asked.draws:
        command = [sys.executable, __file__, "--one", "--draws", str(draws)]
        command += ["--images", str(asked.images), "--changed", str(asked.changed)]
        rows.append(json.loads(subprocess.run(command, check=True, stdout=-1).stdout))
    print(pd.DataFrame(rows).round(2).to_string(index=False))


if __name__ == "__main__":
    main()
