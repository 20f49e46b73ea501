"""How long an audit takes, beside three plain loops over the same draws; see docs/speed.md.

Usage: ``python benchmarks/speed.py [--draws 50] [--rounds 3]`` (or ``make bench``). Prints tables
and writes ``benchmarks/results.json``. Rounds of the loops are run between our draws, so that what
else the machine does slows all of them alike; CPU seconds are beside seconds of the clock.
"""

import argparse
import json
import os
import platform
from datetime import date
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from speed_growth import executors, growth
from speed_loops import LOOPS
from speed_profile import infer, profile
from speed_study import Clock, Study, requests

RESULTS = Path(__file__).with_name("results.json")


def side_by_side(study: Study, draws: int, rounds: int) -> dict:
    """Time our draws, integer inference alone, and the three loops, by turns."""
    loops = {name: make(study) for name, make in LOOPS.items()}
    sets = dict(list(study.sets.items())[:draws])
    runner, alone = study.runner(), study.runner()
    predictor = alone.runtime.compile(alone.prepared, alone.quantize(*next(iter(sets.items()))))
    clocks = {name: Clock() for name in ("ours", "integer_inference", *loops)}
    agreement: dict[str, list[float]] = {name: [] for name in loops}
    stream = runner._stream(requests(sets, study.audit), runner.executor)
    turn = max(1, draws // rounds)
    for position in range(draws):
        with clocks["ours"]:
            outcome = next(stream)
        if position % turn or position // turn >= rounds:
            continue
        ready = [
            study.model.preprocessing(array[study.audit.rows[shift]])
            for shift, array in study.audit.arrays.items()
        ]
        with clocks["integer_inference"]:
            for array in ready:
                infer(predictor, array, alone.workload.batch_size)
        for name, loop in loops.items():
            with clocks[name]:
                got = loop(sets[outcome.spec.calibration_set])
            same = [np.mean(got[shift] == outcome.predictions[shift]) for shift in got]
            agreement[name].append(float(np.mean(same)))
    stream.close()
    return {
        **{"draws": draws, "rounds_of_the_loops": rounds},
        "seconds_per_draw": {name: clock.to_json() for name, clock in clocks.items()},
        "agreement": {name: round(float(np.mean(v)), 5) for name, v in agreement.items()},
    }


def float_model(study: Study) -> dict:
    """Time the float model, which a full audit runs once under each shift."""
    runner = study.runner()
    runner.workload.prepared  # noqa: B018
    with Clock() as clock:
        runner.run(None, None, study.audit)
    return clock.to_json()


def settling(study: Study, full: float) -> dict:
    """Time the settled verdict of a recipe that fails and of one that passes."""
    from ptq_pipeline.judgement.stopping import Scope
    from ptq_pipeline.trials.settling import SettlingParameters, settle

    scope = Scope.planned(study.index, study.groups, study.policy)
    found = {}
    for name, bits in (("fail", (4, 8)), ("pass", (8, 8))):
        audit = study.whole(bits)
        # Hashed beforehand, as a full audit does it too.
        audit.evaluation.fingerprint  # noqa: B018
        with Clock() as clock:
            verdict = settle(audit, scope, study.sets, SettlingParameters())
        found[name] = {
            "recipe": f"W{bits[0]}A{bits[1]}",
            "result": verdict.result,
            "draws": len(verdict.draws),
            "answers": verdict.images,
            "answers_of_the_full_audit": verdict.full_images,
            "seconds": round(clock.walls[0], 2),
            "cpu_seconds": round(clock.cpus[0], 2),
            "full_audit_seconds": round(full, 1),
            "speedup": round(full / clock.walls[0], 2),
        }
    return found


def sampled(study: Study, turns: int = 10) -> dict:
    """Time a sampled PASS, float model and first draws included, beside draws in full by turns."""
    from ptq_pipeline.judgement.stopping import Scope
    from ptq_pipeline.trials.sampling import SampledRun

    policy = study.policy.model_copy(update={"evaluation": "sampled"})
    scope = Scope.planned(study.index, study.groups, policy)
    audit, whole = study.whole(), study.whole()
    # Hashed beforehand, as a full audit does it too.
    for each in (audit, whole):
        each.evaluation.fingerprint  # noqa: B018
    ours, floats, full, runner = Clock(), Clock(), Clock(), whole.runner()
    with floats:
        runner.run(None, None, whole.evaluation)
    with ours:
        run = SampledRun(audit, scope)
        draws, found = run.draws(study.sets), []
    stream = runner._stream(requests(study.sets, whole.evaluation), runner.executor)
    while True:
        with ours:
            part = list(islice(draws, -(-len(study.sets) // turns)))
        found += part
        if not part:
            break
        with full:
            next(stream)
    stream.close()
    seconds = {"ours": sum(ours.walls), "full": sum(floats.walls) + 50 * float(np.mean(full.walls))}
    cpu = {"ours": sum(ours.cpus), "full": sum(floats.cpus) + 50 * float(np.mean(full.cpus))}
    answers = sum(each.answers for each in found)
    return {
        "recipe": "W8A8",
        "good": sum(each.state == "good" for each in found),
        "draws": len(found),
        "answers": answers,
        "share_of_answers": round(answers / (len(found) * run.answers_of_a_draw), 4),
        "seconds": round(seconds["ours"], 2),
        "full_audit_seconds": round(seconds["full"], 1),
        "speedup": round(seconds["full"] / seconds["ours"], 2),
        "cpu_speedup": round(cpu["full"] / cpu["ours"], 2),
    }


def largest_ratios(seconds: dict) -> dict[str, float]:
    """What each ratio would be without any overhead: the loop over integer inference alone."""
    alone = seconds["integer_inference"]["median_s"]
    return {name: round(seconds[name]["median_s"] / alone, 2) for name in LOOPS}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    study = Study.load()
    beside = side_by_side(study, chosen.draws, chosen.rounds)
    seconds = beside["seconds_per_draw"]
    # Ours is the mean: the first draw carries what is made once.
    ours, inference = seconds["ours"]["mean_s"], seconds["integer_inference"]["median_s"]
    floats = float_model(study)
    settled = settling(study, 50 * ours + floats["mean_s"])
    results = {
        "date": date.today().isoformat(),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "load_average": [round(each, 1) for each in os.getloadavg()],
        "versions": {n: version(n) for n in ("torch", "openvino", "onnxruntime", "nncf", "numpy")},
        "ratios": {name: round(seconds[name]["median_s"] / ours, 2) for name in LOOPS},
        "largest_ratios": largest_ratios(seconds),
        "cpu_ratios": {
            name: round(seconds[name]["median_cpu_s"] / seconds["ours"]["mean_cpu_s"], 2)
            for name in LOOPS
        },
        "total_over_inference": round(ours / inference, 3),
        "overhead_s_per_draw": round(ours - inference, 3),
        "settling_speedup": {name: each["speedup"] for name, each in settled.items()},
        # Of a process that runs our trials and nothing else: filled in with the growth.
        "peak_rss_mb": None,
        "side_by_side": beside,
        "float_model": floats,
        "settling": settled,
        "sampled": sampled(study),
        "profile": profile(study),
    }
    _write(results)
    results["executors"] = executors(study)
    results["growth"] = growth()
    results["peak_rss_mb"] = max(row["peak_rss_mb"] for row in results["growth"])
    _write(results)
    show(results)


def show(results: dict) -> None:
    """Print the tables."""
    seconds = results["side_by_side"]["seconds_per_draw"]
    rows = [
        {
            **{"one draw": name, "median s": each["median_s"]},
            "spread s": f"{each['min_s']:.2f}-{each['max_s']:.2f}",
            **{"mean s": each["mean_s"], "CPU s": each["median_cpu_s"]},
            "ours is faster by": results["ratios"].get(name, ""),
            "of at most": results["largest_ratios"].get(name, ""),
            "same answers": results["side_by_side"]["agreement"].get(name, ""),
        }
        for name, each in seconds.items()
    ]
    _table(rows)
    names = ("total_over_inference", "overhead_s_per_draw", "peak_rss_mb")
    _table([{"figure": name, "value": results[name]} for name in names])
    _table([{"settled": name, **each} for name, each in results["settling"].items()])
    _table([results["sampled"]])
    _table(
        [
            {
                **{"part": name, "median s": each["median_s"]},
                "spread s": f"{each['min_s']:.3f}-{each['max_s']:.3f}",
                **{"CPU s": each["median_cpu_s"], "how often": "study" if each["once"] else "draw"},
            }
            for name, each in results["profile"].items()
        ]
    )
    _table(results["growth"])
    _table(results["executors"])


def _table(rows: list[dict]) -> None:
    print(pd.DataFrame(rows).to_string(index=False), end="\n\n", flush=True)


def _write(results: dict) -> None:
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
