"""How often sets of a strategy are rejected, and by what: the error rates of the validation.

Great Expectations computes the same numbers from the same functions (a test holds the two equal);
thousands of sets need neither its results nor its time.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.calibration.distances import category_shares, js_divergence, ks_distance
from ptq_pipeline.calibration.pool import Pool
from ptq_pipeline.calibration.strategies import DrawPlan, draw_set
from ptq_pipeline.calibration.suite import NOWHERE, ExpectationSpec, build_suite, set_table
from ptq_pipeline.calibration.thresholds import Thresholds
from ptq_pipeline.calibration.validation import Profile


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
    pool: Pool,
    images: np.ndarray,
    thresholds: Thresholds,
    profile: Profile,
    definitions: Mapping[str, Any],
    judged: Mapping[str, str],
    plan: DrawPlan,
    sets: int,
) -> pd.DataFrame:
    """Draw fresh sets and return which expectations each of them fails.

    Args:
        pool: what may be drawn.
        images: ``(N, C, H, W)`` uint8, row = sample id.
        thresholds: frozen thresholds.
        profile: returns a set's profile.
        definitions: ``{"classes": [...], "segments": {column: ...}}``.
        judged: content hash to split of the images that candidates are chosen or judged on.
        plan: of the sets; use a seed that no audit uses.
        sets: number of sets.

    Returns:
        Boolean table, one row per set and one column per expectation.
    """
    suite = build_suite(thresholds, plan.size)
    rows = []
    for draw in range(sets):
        drawn = draw_set(pool, images, plan, draw)
        table = set_table(drawn.manifest, profile(drawn), definitions, thresholds.features, judged)
        observed = observe(table, suite)
        rows.append({spec.name: not is_met(spec, observed[spec.name]) for spec in suite})
    return pd.DataFrame(rows)
