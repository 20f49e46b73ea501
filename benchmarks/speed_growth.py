"""How time and peak memory grow with draws, images, pool and workers; see `speed.py`."""

import json
import subprocess
import sys
from pathlib import Path

from speed_study import Clock, Study, requests

from ptq_pipeline.trials.recipe import ExecutorParameters

# Draws, evaluation images, pool.
SIZES = [
    *((draws, 1000, 7000) for draws in (5, 50, 200)),
    *((5, images, 7000) for images in (8000, 60000)),
    *((50, 1000, pool) for pool in (1000, 3000)),
]
EXECUTORS = [
    ("serial", None, 2),
    ("serial", None, 1),
    ("process", 1, 1),
    ("process", 2, 1),
    ("dask", 2, 1),
]


def growth() -> list[dict]:
    """Time and peak memory in a process each, as one size grows and the others stay."""
    rows = []
    for size in SIZES:
        command = [sys.executable, __file__, *map(str, size)]
        done = subprocess.run(command, capture_output=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    return rows


def one_size(draws: int, images: int, pool: int) -> dict:
    """Run clean trials in this process."""
    study = Study.load()
    runner = study.runner()
    runner.shifts = {"clean": {}}
    sets, evaluation = study.more_sets(draws, pool), study.repeated(images)
    with Clock() as clock:
        runner.run_all(requests(sets, evaluation))
    # Not getrusage: across fork and exec it carries the parent's peak along.
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    peak = next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM"))
    return {
        **{"draws": draws, "images": images, "pool": pool},
        **{"seconds": round(clock.walls[0], 2), "cpu_seconds": round(clock.cpus[0], 2)},
        "peak_rss_mb": peak,
    }


def executors(study: Study) -> list[dict]:
    """Time 50 small trials by each executor and number of workers."""
    rows, expected = [], None
    for kind, workers, threads in EXECUTORS:
        runner = study.runner(
            threads=threads, executor=ExecutorParameters(kind=kind, workers=workers).build()
        )
        runner.shifts = {"clean": {}}
        with Clock() as clock:
            outcomes = runner.run_all(requests(study.more_sets(50), study.repeated(1000)))
        answers = [outcome.predictions["clean"].tobytes() for outcome in outcomes]
        expected = answers if expected is None else expected
        rows.append(
            {
                **{"executor": kind, "workers": workers or 1, "threads": threads},
                **{"seconds": round(clock.walls[0], 1), "equal_answers": answers == expected},
            }
        )
    return rows


if __name__ == "__main__":
    print(json.dumps(one_size(*map(int, sys.argv[1:]))))
