"""How long an audit takes, beside three plain loops over the same draws; see docs/speed.md.

Usage: ``python benchmarks/speed.py [--draws 50] [--rounds 3]`` (or ``make bench``). Prints tables
and writes ``benchmarks/results.json``. Rounds of the loops are run between our draws, so that what
else the machine does slows all of them alike; CPU seconds stand beside seconds of the clock.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

RESULTS = Path(__file__).with_name("results.json")


class Clock:
    """Seconds of the clock and of this process's CPU time, over several stretches."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> "Clock":
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.wall += time.perf_counter() - self._wall
        self.cpu += time.process_time() - self._cpu


def side_by_side(study, draws: int, rounds: int) -> dict:
    """Time our draws, integer inference alone, and the three loops, by turns."""
    from speed_loops import LOOPS
    from speed_study import BATCH, requests

    loops = {name: make(study) for name, make in LOOPS.items()}
    sets = dict(list(study.sets.items())[:draws])
    runner = study.runner(Path(tempfile.mkdtemp(prefix="bench-store-")))
    ours, infer = Clock(), Clock()
    others = {name: [] for name in loops}
    inferences, agreement = 0, {}
    stream = runner._stream(requests(sets, study.audit), runner.executor)
    predictor = None
    turn = max(1, draws // rounds)
    for position in range(draws):
        with ours:
            outcome = next(stream)
        if position % turn or position // turn >= rounds:
            continue
        images = sets[outcome.spec.calibration_set]
        if predictor is None:
            parameters = runner.quantize(outcome.spec.calibration_set, images)
            predictor = runner.runtime.compile(runner.prepared, parameters)
        ready = {
            shift: study.model.preprocessing(array[study.audit.rows[shift]])
            for shift, array in study.audit.arrays.items()
        }
        with infer:
            for array in ready.values():
                for start in range(0, len(array), BATCH):
                    predictor(array[start : start + BATCH])
        inferences += 1
        for name, loop in loops.items():
            with Clock() as clock:
                got = loop(images)
            others[name].append((clock.wall, clock.cpu))
            same = [np.mean(got[shift] == outcome.predictions[shift]) for shift in got]
            agreement.setdefault(name, []).append(float(np.mean(same)))
    stream.close()
    per_draw = {"ours": (ours.wall / draws, ours.cpu / draws)}
    per_draw |= {name: tuple(np.median(times, axis=0)) for name, times in others.items()}
    return {
        "draws": draws,
        "rounds_of_the_loops": rounds,
        "seconds_per_draw": {name: round(float(wall), 3) for name, (wall, _) in per_draw.items()},
        "cpu_seconds_per_draw": {name: round(float(cpu), 3) for name, (_, cpu) in per_draw.items()},
        "spread_seconds": {
            name: [round(min(t)[0], 2), round(max(t)[0], 2)] for name, t in others.items()
        },
        "inference_seconds": round(infer.wall / inferences, 3),
        "inference_cpu_seconds": round(infer.cpu / inferences, 3),
        "agreement": {name: round(float(np.mean(v)), 5) for name, v in agreement.items()},
    }


def settling(study, seconds_per_draw: float, cpu_per_draw: float) -> dict:
    """Time the settled verdict of a recipe that fails and of one that passes."""
    from ptq_pipeline.reliability.recipe import collect_draws
    from ptq_pipeline.trials.settling import Study as SettlingStudy
    from ptq_pipeline.trials.settling import settle

    unseen = pd.DataFrame(columns=["trial_id", "set_id", "role", "status"])
    draws = collect_draws(study.index, unseen, study.policy)
    plan = SettlingStudy.of(study.evaluated, study.groups, study.policy, draws.distinct)
    found = {}
    for bits in ((4, 8), (8, 8)):
        runner = study.runner(Path(tempfile.mkdtemp(prefix="bench-store-")), bits)
        with Clock() as clock:
            verdict = settle(plan, runner, draws, study.sets)
        full = draws.distinct
        found[f"W{bits[0]}A{bits[1]}"] = {
            "result": verdict.result,
            "draws": len(verdict.draws),
            "answers": verdict.images,
            "answers_of_the_full_audit": verdict.full_images,
            "seconds": round(clock.wall, 1),
            "cpu_seconds": round(clock.cpu, 1),
            "speedup": round(full * seconds_per_draw / clock.wall, 2),
            "cpu_speedup": round(full * cpu_per_draw / clock.cpu, 2),
        }
    return found


GROWTH = """
import json, sys, tempfile, time
from pathlib import Path
sys.path.insert(0, {folder!r})
from speed_study import Study, requests
study = Study.load()
runner = study.runner(Path(tempfile.mkdtemp(prefix="bench-store-")))
runner.shifts = {{"clean": {{}}}}
sets = study.more_sets({draws}, {pool})
evaluation = study.repeated({images})
before = time.perf_counter(), time.process_time()
runner.run_all(requests(sets, evaluation))
print(json.dumps({{
    "draws": {draws}, "images": {images}, "pool": {pool},
    "seconds": round(time.perf_counter() - before[0], 2),
    "cpu_seconds": round(time.process_time() - before[1], 2),
    # Not getrusage: across fork and exec it carries the parent's peak along.
    "peak_rss_mb": next(int(line.split()[1]) // 1024
                        for line in open("/proc/self/status") if line.startswith("VmHWM")),
}}))
"""


def growth() -> list[dict]:
    """Time and peak memory in a process each, as one size grows and the others stay."""
    sizes = [(n, 1000, 7000) for n in (5, 50, 200)]
    sizes += [(5, n, 7000) for n in (8000, 60000)]
    sizes += [(50, 1000, n) for n in (1000, 3000)]
    rows = []
    for draws, images, pool in sizes:
        folder = str(Path(__file__).parent)
        code = GROWTH.format(folder=folder, draws=draws, images=images, pool=pool)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    return rows


def executors(study) -> list[dict]:
    """Time 50 small trials by each executor, one thread per trial."""
    import speed_study
    from speed_study import requests

    from ptq_pipeline.trials.executors import build_executor

    speed_study.THREADS = 1
    rows, expected = [], None
    for kind, workers in (("serial", None), ("process", 2), ("dask", 2)):
        runner = study.runner(
            Path(tempfile.mkdtemp(prefix="bench-store-")), executor=build_executor(kind, workers)
        )
        runner.shifts = {"clean": {}}
        with Clock() as clock:
            outcomes = runner.run_all(requests(study.more_sets(50), study.repeated(1000)))
        answers = [outcome.predictions["clean"].tobytes() for outcome in outcomes]
        expected = answers if expected is None else expected
        rows.append(
            {
                **{"executor": kind, "workers": workers or 1, "seconds": round(clock.wall, 1)},
                "equal_to_serial": answers == expected,
            }
        )
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only-growth", action="store_true", help="measure growth again")
    chosen = parser.parse_args()
    if chosen.only_growth:
        _add_growth(json.loads(RESULTS.read_text(encoding="utf-8")))
        return
    from speed_study import Study

    study = Study.load()
    beside = side_by_side(study, chosen.draws, chosen.rounds)
    wall, cpu = beside["seconds_per_draw"], beside["cpu_seconds_per_draw"]
    settled = settling(study, wall["ours"], cpu["ours"])
    results = {
        "date": date.today().isoformat(),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "load_average": [round(each, 1) for each in os.getloadavg()],
        "versions": {n: version(n) for n in ("torch", "openvino", "onnxruntime", "nncf", "numpy")},
        "ratios": {n: round(wall[n] / wall["ours"], 2) for n in wall if n != "ours"},
        "cpu_ratios": {n: round(cpu[n] / cpu["ours"], 2) for n in cpu if n != "ours"},
        "total_over_inference": round(wall["ours"] / beside["inference_seconds"], 3),
        "cpu_total_over_inference": round(cpu["ours"] / beside["inference_cpu_seconds"], 3),
        "settling_speedup": {
            "fail": settled["W4A8"]["speedup"],
            "pass": settled["W8A8"]["speedup"],
        },
        # Of a process that runs our trials and nothing else: filled in with the growth.
        "peak_rss_mb": None,
        "overhead_s_per_draw": round(wall["ours"] - beside["inference_seconds"], 3),
        "side_by_side": beside,
        "settling": settled,
    }
    _write(results)
    _add_growth(results)
    results["executors"] = executors(study)
    _write(results)
    print(json.dumps(results, indent=2))


def _add_growth(results: dict) -> None:
    results["growth"] = growth()
    results["peak_rss_mb"] = max(row["peak_rss_mb"] for row in results["growth"])
    _write(results)


def _write(results: dict) -> None:
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
