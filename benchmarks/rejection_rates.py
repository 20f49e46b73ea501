"""How often sets of a strategy are rejected, and by what: the error rates of the validation.

Great Expectations computes the same numbers from the same functions (a test holds the two equal);
thousands of sets need neither its results nor its time.
"""

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.draws import draw_set
from ptq_pipeline.calibration.parameters import DrawPlan
from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.calibration.suite import NOWHERE, ExpectationSpec
from ptq_pipeline.calibration.validation import SetValidator
from ptq_pipeline.statistics.distances import category_shares, js_divergence, ks_distance


def observe(table: pd.DataFrame, suite: Sequence[ExpectationSpec]) -> dict[str, float]:
    """Return what each expectation observes on a table, by name, without Great Expectations."""
    return {spec.name: _observe(table, spec) for spec in suite}


def _observe(table: pd.DataFrame, spec: ExpectationSpec) -> float:
    if spec.kind == "size":
        return float(len(table))
    column = table[spec.column]
    if spec.kind == "unique":
        return float(column.duplicated(keep=False).sum())
    if spec.kind == "overlap":
        return float((column != NOWHERE).sum())
    reference = json.loads(spec.reference)
    if spec.kind == "shares":
        shares = category_shares(column.to_numpy(), reference["categories"])
        return float(js_divergence(shares, reference["shares"]))
    return ks_distance(column.to_numpy(), reference["edges"], reference["cdf"])


def is_met(spec: ExpectationSpec, observed: float) -> bool:
    """Return whether an observed value meets the expectation."""
    return observed == spec.threshold if spec.kind == "size" else observed <= spec.threshold


def failures(
    pool: Pool, images: np.ndarray, validator: SetValidator, plan: DrawPlan, sets: int
) -> pd.DataFrame:
    """Draw fresh sets and return which expectations each of them fails.

    Args:
        pool: what may be drawn.
        images: ``(N, C, H, W)`` uint8, row = sample id.
        validator: of sets of the plan's size.
        plan: of the sets; use a seed that no audit uses.
        sets: number of sets.

    Returns:
        Boolean table, one row per set and one column per expectation.
    """
    rows = []
    for draw in range(sets):
        observed = observe(validator.table(draw_set(pool, images, plan, draw)), validator.suite)
        rows.append({spec.name: not is_met(spec, observed[spec.name]) for spec in validator.suite})
    return pd.DataFrame(rows)
