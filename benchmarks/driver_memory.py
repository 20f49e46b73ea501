"""What one machine holds of a study, and how long its statistics take, by number of draws.

    python benchmarks/driver_memory.py --units 10000 --draws 100 400 --changed 0.01

Answers are made up: the float model is right on nine of ten units, and a draw changes a share of
its answers, at places of its own, to another class. Units fall into 25 classes, 18 values of two
columns and the 450 groups of a class with a value: 494 groups under three shifts. The table of
answers is written and read, scored, and judged with everything a verdict holds: intervals,
components of the spread, the mean over the draws. Each number of draws is measured in a process of
its own, and the peak is that of this process.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.grouping import build_groups
from ptq_pipeline.core.tally import score
from ptq_pipeline.judgement.building import AuditSetting, build_verdict
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.ptq import MethodSpec
from ptq_pipeline.trials.changed import ChangedAnswers
from ptq_pipeline.trials.evaluation import Evaluation
from ptq_pipeline.trials.trial import TrialOutcome, TrialSpec, predictions_table

SHIFTS, CLASSES = ("clean", "noise", "blur"), 25
COLUMNS = {"camera": 10, "site": 8}
LEVELS = ("average", "class", "segment", "intersection")
POLICY = Policy.model_validate({"limits": {level: {"points": 10.0} for level in LEVELS}})


def peak() -> float:
    """Megabytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def samples_of(units: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return the table of made-up units; a tenth of them chooses the candidate."""
    columns = {name: rng.integers(0, size, units).astype(str) for name, size in COLUMNS.items()}
    split = np.where(np.arange(units) % 10 == 0, "selection", "audit")
    label = rng.integers(0, CLASSES, units)
    return pd.DataFrame({"sample_id": np.arange(units), "split": split, "label": label} | columns)


def made_up(
    samples: pd.DataFrame, draws: int, changed: float, rng: np.random.Generator
) -> tuple[TrialOutcome, list[TrialOutcome]]:
    """Return the answers of the float model and of all draws."""
    units, labels = len(samples), samples["label"].to_numpy()
    spec = TrialSpec("m", None, None, "e", {name: {} for name in SHIFTS}, {"name": "o"}, "3")

    def other(answers: np.ndarray) -> np.ndarray:
        return ((answers + rng.integers(1, CLASSES, len(answers))) % CLASSES).astype(np.int32)

    floats = {
        name: np.where(rng.random(units) < 0.9, labels, other(labels)).astype(np.int32)
        for name in SHIFTS
    }
    found = []
    for draw in range(draws):
        changes = {}
        for name, answers in floats.items():
            at = np.unique(rng.integers(0, units, rng.binomial(units, changed))).astype(np.uint32)
            changes[name] = at, other(answers[at])
        own = TrialSpec("m", MethodSpec(), f"s{draw}", "e", spec.shifts, {"name": "o"}, "3")
        found.append(TrialOutcome(own, ChangedAnswers(floats, changes)))
    return TrialOutcome(spec, floats), found


def measure(units: int, draws: int, changed: float) -> dict[str, Any]:
    """Make the answers of all draws, and a verdict of them."""
    rng = np.random.default_rng(0)
    samples = samples_of(units, rng)
    segments = {name: tuple(map(str, range(size))) for name, size in COLUMNS.items()}
    groups = build_groups(samples, [str(each) for each in range(CLASSES)], segments)
    evaluation = Evaluation(samples, {}, {})
    floats, drawn = made_up(samples, draws, changed, rng)
    ids = [outcome.spec.trial_id for outcome in drawn]
    names = {"set_id": [f"s{i}" for i in range(draws)], "strategy": "random", "role": "evidence"}
    order = {"draw": range(draws), "valid": True}
    spec = json.dumps(drawn[0].spec.to_json())
    trials = pd.DataFrame({"trial_id": ids, **names, **order, "status": "done", "spec": spec})
    index = pd.DataFrame({**names, **order})
    policy = POLICY.model_copy(update={"draws": draws})
    reference = floats.table(evaluation).drop(columns="trial_id")
    seconds: dict[str, Any] = {"draws": draws, "held before": peak()}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = step()
        seconds[f"{name} s"], seconds[f"{name} MB"] = time.process_time() - started, peak()
        return result

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "predictions.parquet")

        def written() -> pd.DataFrame:
            answered = [(each, evaluation) for each in drawn]
            predictions_table(answered, reference).to_parquet(path, index=False)
            drawn.clear()
            return pd.read_parquet(path)

        predictions = timed("table", written)
        seconds["file MB"] = path.stat().st_size / 1e6
    scores = timed("score", lambda: score(predictions, reference, groups, trials))
    setting = AuditSetting(groups, predictions, reference)
    verdict, _ = timed("judge", lambda: build_verdict(scores, trials, index, policy, setting))
    return seconds | {"cells": len(verdict.candidate.cells), "result": verdict.result}


def main() -> None:
    """Print a row per number of draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--draws", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--changed", type=float, default=0.01)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.units, asked.draws[0], asked.changed)))
        return
    rows = []
    for draws in asked.draws:
        command = [sys.executable, __file__, "--one", "--draws", str(draws)]
        command += ["--units", str(asked.units), "--changed", str(asked.changed)]
        rows.append(json.loads(subprocess.run(command, check=True, stdout=-1).stdout))
    print(pd.DataFrame(rows).round(2).T.to_string(header=False))


if __name__ == "__main__":
    main()
