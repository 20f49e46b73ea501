"""Exact confidence interval of the accuracy drop of one group, by inverting exact tests.

The upper bound is the smallest drop that the one-sided test rejects as too large, the lower bound
is its mirror image. Unlike the tests of :mod:`.paired`, which fix one region for many draws, an
interval is needed for one pair of counts, so the p-value uses the device of Berger and Boos (1994),
"P values maximized over a confidence set for the nuisance parameter", JASA 89: the maximum over the
nuisance ``p_gained`` is taken over its exact (Clopper-Pearson) confidence set only, and that set's
error is added to the p-value.

The order of the sample space is that of the tests: the score statistic of Tango (1998), with
``lost = 0`` first where a positive drop is tested.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import special

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.statistics.tango import largest_rejected_loss, nuisance_points, tango_score

NUISANCE_SHARE = 0.02
NUISANCE_POINTS = 13
TOLERANCE = 2e-5
SEARCH_STEPS = 40


def paired_p_value(lost: int, gained: int, n: int, delta: float, nuisance_error: float) -> float:
    """Exact p-value of ``drop >= delta`` against ``drop < delta``, valid, in (0, 1].

    ``nuisance_error`` is that of the confidence set of ``p_gained``; it is part of the p-value.
    """
    if lost - gained >= n * delta:
        return 1.0
    low, high = clopper_pearson(gained, n, nuisance_error)
    edge, end = max(0.0, -delta), (1 - delta) / 2
    low, high = float(np.clip(low, edge, end)), float(np.clip(high, edge, end))
    grid = np.linspace(np.sqrt(low), np.sqrt(high), NUISANCE_POINTS) ** 2
    points = nuisance_points(n, delta, np.clip(grid, edge, end), nuisance_error * 1e-2)
    used = np.arange(int(points.gained.max()) + 1)
    if delta > 0 and lost == 0:
        largest = np.where(used >= gained, 0, -1)
    else:
        observed = float(tango_score(lost, gained, n, delta))
        largest = largest_rejected_loss(used, n, delta, observed + 1e-9)
        if delta > 0:
            largest = np.maximum(largest, 0)
    return min(1.0, float(points.tail(largest[points.gained]).max()) + nuisance_error)


@lru_cache(maxsize=65536)
def drop_interval(lost: int, gained: int, n: int, alpha: float) -> tuple[float, float]:
    """Two-sided confidence interval of ``p_lost - p_gained``, at error ``alpha`` of both sides.

    Returns:
        Lower and upper bound, fractions in [-1, 1], within 2e-5 outside the exact inversion.

    Raises:
        InputError: If the counts do not fit ``n``.
    """
    if n < 1 or lost < 0 or gained < 0 or lost + gained > n:
        raise InputError(f"Counts lost={lost}, gained={gained} do not fit n={n} pairs.")
    upper = _upper_bound(lost, gained, n, alpha / 2)
    lower = -_upper_bound(gained, lost, n, alpha / 2)
    return lower, upper


def _upper_bound(lost: int, gained: int, n: int, alpha: float) -> float:
    nuisance_error = NUISANCE_SHARE * alpha
    target = float(special.ndtri(alpha))

    def excess(delta: float) -> float:
        p_value = paired_p_value(lost, gained, n, delta, nuisance_error)
        return float(special.ndtri(min(p_value, 1 - 1e-12))) - target

    observed = (lost - gained) / n
    spread = np.sqrt(max(lost + gained - n * observed**2, 1.0)) / n
    inside, outside = observed, min(observed - 1.5 * target * spread + target**2 / n, 1 - 1e-9)
    while excess(outside) > 0:
        if outside > 1 - 1e-6:
            return 1.0
        inside, outside = outside, min(2 * outside - observed, 1 - 1e-9)
    return _close_in(excess, inside, outside)


def _close_in(excess: Callable[[float], float], inside: float, outside: float) -> float:
    """Shrink a bracket with ``excess(inside) > 0 >= excess(outside)``; returns its outer end."""
    at_inside, at_outside = excess(inside), excess(outside)
    for step in range(SEARCH_STEPS):
        if outside - inside <= TOLERANCE:
            break
        share = at_inside / (at_inside - at_outside)
        # Every third step halves, so a flat or jumping p-value cannot stall the search.
        middle = (
            (inside + outside) / 2
            if step % 3 == 2
            else inside + (outside - inside) * float(np.clip(share, 0.02, 0.98))
        )
        value = excess(middle)
        if value > 0:
            inside, at_inside = middle, value
        else:
            outside, at_outside = middle, value
    return outside


def clopper_pearson(count: int, n: int, alpha: float) -> tuple[float, float]:
    """Exact two-sided interval of a share, at error ``alpha`` of both sides together."""
    low = 0.0 if count == 0 else float(special.betaincinv(count, n - count + 1, alpha / 2))
    high = 1.0 if count == n else float(special.betaincinv(count + 1, n - count, 1 - alpha / 2))
    return low, high
