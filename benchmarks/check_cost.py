"""What checking content costs: seconds inside the checks, beside the whole run.

Usage: ``python benchmarks/check_cost.py`` (or ``make check-cost``). It runs the default audit with
empty stores and once more with everything in them, below ``data/bench``, and counts the time that
seals, the hashes of evaluated pixels and those of calibration sets take in each. The clock runs in
the audit's own process, so both figures are of the same run and the same load.
"""

import functools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]


class Clock:
    """Counts seconds inside functions; what they call inside each other counts once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with the clock around it."""

        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            self._depth += 1
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.seconds += time.perf_counter() - started

        return timed


def measured() -> None:
    """Run the audit in this process and print seconds of the checks and of the whole."""
    started = time.perf_counter()
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    from ptq_pipeline.calibration.sets import CalibrationSet
    from ptq_pipeline.sealing import SealHooks
    from ptq_pipeline.trials import evaluation

    clock = Clock()
    for name in (
        *("before_pipeline_run", "before_dataset_loaded", "after_dataset_loaded"),
        *("after_dataset_saved", "after_pipeline_run"),
    ):
        hook = getattr(SealHooks, name)
        marked = clock.around(hook)
        setattr(SealHooks, name, marked)
    CalibrationSet.verify = clock.around(CalibrationSet.verify)
    fingerprint = evaluation.Evaluation.__dict__["fingerprint"]
    fingerprint.func = clock.around(fingerprint.func)
    evaluation.Evaluation.require_unchanged = clock.around(evaluation.Evaluation.require_unchanged)
    bootstrap_project(PROJECT)
    with KedroSession.create(project_path=PROJECT, env="study/bench") as session:
        session.run()
    whole = time.perf_counter() - started
    print("\n" + json.dumps({"checks": clock.seconds, "whole": whole}))


def main() -> None:
    """Measure both runs and print a table."""
    if sys.argv[1:] == ["measured"]:
        measured()
        return
    shutil.rmtree(PROJECT / "data/bench", ignore_errors=True)
    print(f"{'':<16}{'checks, s':>12}{'whole, s':>12}{'share':>10}")
    for name in ("empty stores", "full stores"):
        command = [sys.executable, __file__, "measured"]
        done = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.strip().splitlines()[-1])
        share = found["checks"] / found["whole"]
        print(f"{name:<16}{found['checks']:>12.2f}{found['whole']:>12.1f}{share:>10.1%}")


if __name__ == "__main__":
    main()
