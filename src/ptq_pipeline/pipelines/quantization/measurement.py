"""How long an audit will take here, from a short measurement of its parts."""

import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.images.source import content_keys
from ptq_pipeline.models import FloatModel
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.recipe import Recipe
from ptq_pipeline.trials.store import TrialStore

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


def expected_seconds(
    model: FloatModel,
    samples: pd.DataFrame,
    images: np.ndarray,
    parameters: Recipe,
    work: Mapping[str, int],
    rest: float | None = None,
) -> float:
    """Measure one calibration and a thousand inferences, and extrapolate.

    Args:
        model: the float model.
        samples: the samples table.
        images: uint8 ``(N, C, H, W)``.
        parameters: method and runtime.
        work: what `kedro ptq plan` counts.
        rest: seconds of everything but trials, see `seconds_beside_trials`.
    """
    data = AuditData(samples, images)
    pool, looked_at = data.rows("pool"), slice(MEASURED_IMAGES)
    size = min(work["set_size"], len(pool) // 2)
    sets = [np.asarray(images[pool[:size]]), np.asarray(images[pool[size : 2 * size]])]
    with tempfile.TemporaryDirectory() as folder:
        direct = parameters.model_copy(update={"statistics": "direct"})
        clean = StressParameters({CLEAN: {}})
        audit = Audit(data, model, TrialStore(Path(folder)), clean, direct)
        runner, selection = audit.runner(), audit.evaluation.of("selection")
        first = _timed(lambda: runner.quantize("plan-0", sets[0]))[0]
        again = _timed(lambda: runner.quantize("plan-1", sets[1]))[0]
        quantized = runner.quantize("plan-1", sets[1])
        workload = runner.workload

        def rate_of(parameters_of_model: Any) -> tuple[float, float]:
            compiling, predictor = _timed(
                lambda: runner.runtime.compile(workload.prepared, parameters_of_model)
            )
            run = lambda: workload.predict(predictor, selection, CLEAN, looked_at)  # noqa: E731
            # The first pass warms up.
            count = len(run())
            return compiling, _timed(run)[0] / count

        compile_float, per_float = rate_of(None)
        compile_first, _ = rate_of(quantized)
        compiling, per_image = rate_of(quantized)
    trials = work["draws"] + work["comparison_sets"]
    evaluated = work["draws"] * work["images_per_draw"]
    evaluated += work["comparison_sets"] * work["images_per_comparison"]
    seconds = first + compile_float + compile_first + trials * (again + compiling)
    seconds += evaluated * per_image + work["images_per_draw"] * per_float
    # The simulation of the parity check runs float kernels.
    seconds += work["parity_draws"] * work["selection_images"] * 3 * per_float
    if rest is not None:
        return seconds + rest
    others = FIXED_SECONDS + PER_SET_SECONDS * trials + PER_DRAW_JUDGED_SECONDS * work["draws"]
    return seconds + others * _slowness()


def float_accuracies(
    model: FloatModel, samples: pd.DataFrame, images: np.ndarray, shifts: StressParameters
) -> dict[str, tuple[int, int]]:
    """Look at how often the float model is right under each shift, on some audit images.

    Args:
        model: the float model.
        samples: the samples table.
        images: uint8 ``(N, C, H, W)``.
        shifts: what to look at.

    Returns:
        Right answers and images, by shift; the images are chosen by their content.
    """
    from ptq_pipeline.models import run_in_batches

    audit = samples[samples["split"] == "audit"].sort_values("content_hash")
    audit = audit.drop_duplicates("content_hash").head(LOOKED_AT)
    rows, keys = audit["sample_id"].to_numpy(), content_keys(audit["content_hash"])
    found = dict.fromkeys(shifts.root, (0, 0))
    for name, seen in [(CLEAN, np.asarray(images[rows])), *shifts.shifted(images, keys, rows)]:
        answers = run_in_batches(model, seen)[0].argmax(1)
        found[name] = (int((answers == audit["label"].to_numpy()).sum()), len(audit))
    return found


def seconds_beside_trials(provenance: Mapping[str, Any], left_out: Collection[str]) -> float | None:
    """Return what the last whole run spent on everything but its trials.

    Args:
        provenance: what the run wrote.
        left_out: nodes that the plan takes for done, those of ``data_loading``.

    Returns:
        Seconds, or None when it did not go from trials to the report.
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
