"""How long an audit will take here, from a short measurement of its parts."""

import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.images.source import content_keys
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.trial import TrialStore

# What no single trial shows (imports and start, thresholds and validation, drift, export, report)
# is taken from the last run here. Before the first one: seconds on an idle core that runs the
# reference loop in REFERENCE_SECONDS.
FIXED_SECONDS = 16.0
PER_SET_SECONDS = 0.35
PER_DRAW_JUDGED_SECONDS = 0.15
REFERENCE_SECONDS = 0.1
MEASURED_IMAGES = 1000
# Enough to tell a float model at chance from one that a shift only hurts.
LOOKED_AT = 400
TRIAL_NODES = frozenset({"run_trials", "measure_parity"})
LAST_NODE = "write_report"


def expected_seconds(audit: Audit, work: Mapping[str, int], rest: float | None = None) -> float:
    """Measure one calibration and a thousand inferences, and extrapolate.

    Args:
        audit: what would be run.
        work: what `kedro ptq plan` counts.
        rest: seconds of everything but trials, see `seconds_beside_trials`.
    """
    pool = audit.data.of("pool")["sample_id"].to_numpy()
    size = min(work["set_size"], len(pool) // 2)
    sets = [np.asarray(audit.data.images[rows]) for rows in (pool[:size], pool[size : 2 * size])]
    with tempfile.TemporaryDirectory() as folder:
        direct = audit.recipe.model_copy(update={"statistics": "direct"})
        audit = replace(audit, store=TrialStore(Path(folder)), recipe=direct)
        runner, looked_at = audit.runner(), slice(MEASURED_IMAGES)
        first = _timed(lambda: runner.quantize("plan-0", sets[0]))[0]
        again, quantized = _timed(lambda: runner.quantize("plan-1", sets[1]))
        workload = runner.workload

        def compiled(parameters_of_model: Any) -> tuple[float, Any]:
            return _timed(lambda: workload.runtime.compile(workload.prepared, parameters_of_model))

        def seconds_of_an_image(predictor: Any) -> float:
            run = lambda: workload.predict(predictor, audit.selection, CLEAN, looked_at)  # noqa: E731
            # The first pass warms up.
            count = len(run())
            return _timed(run)[0] / count

        compile_float, floating = compiled(None)
        compile_first, _ = compiled(quantized)
        compiling, predictor = compiled(quantized)
        per_float, per_image = map(seconds_of_an_image, (floating, predictor))
    trials = work["draws"] + work["comparison_sets"]
    evaluated = work["evaluated"]
    evaluated += work["comparison_sets"] * work["images_per_comparison"]
    seconds = first + compile_float + compile_first + trials * (again + compiling)
    seconds += evaluated * per_image + work["images_per_draw"] * per_float
    # The simulation of the parity check runs float kernels.
    seconds += work["parity_draws"] * work["selection_images"] * 3 * per_float
    if rest is not None:
        return seconds + rest
    others = FIXED_SECONDS + PER_SET_SECONDS * trials + PER_DRAW_JUDGED_SECONDS * work["draws"]
    return seconds + others * _slowness()


def float_accuracies(audit: Audit) -> dict[str, tuple[int, int]]:
    """Return the float model's right answers and images, by shift, on some audit images."""
    from ptq_pipeline.models.inference import run_in_batches

    images = audit.data.images
    chosen = audit.data.of("audit").sort_values("content_hash")
    chosen = chosen.drop_duplicates("content_hash").head(LOOKED_AT)
    rows, keys = chosen["sample_id"].to_numpy(), content_keys(chosen["content_hash"])
    found = dict.fromkeys(audit.shifts.root, (0, 0))
    clean = np.asarray(images[rows])
    for name, seen in [(CLEAN, clean), *audit.shifts.shifted(images, keys, rows)]:
        answers = run_in_batches(audit.model, seen)[0].argmax(1)
        found[name] = (int((answers == chosen["label"].to_numpy()).sum()), len(chosen))
    return found


def seconds_beside_trials(provenance: Mapping[str, Any], left_out: Collection[str]) -> float | None:
    """Return the seconds that the last whole run spent on everything but its trials.

    Nodes that are ``left_out`` do not count. None when it did not go from trials to the report.
    """
    nodes = provenance["node_seconds"]
    if not nodes.keys() >= {*TRIAL_NODES, LAST_NODE}:
        return None
    apart = sum(nodes.get(name, 0.0) for name in (*TRIAL_NODES, *left_out))
    return float(provenance["seconds"] - apart)


def _slowness() -> float:
    """How much slower than the reference one core is here and now."""
    return max(0.3, _timed(lambda: sum(i * i for i in range(2_000_000)))[0] / REFERENCE_SECONDS)


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result
