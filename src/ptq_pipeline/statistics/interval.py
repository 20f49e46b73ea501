"""Exact confidence interval of the accuracy drop of one group, by inverting exact tests.

The upper bound is the smallest drop that the one-sided test rejects as too large, the lower bound
is its mirror image. Unlike the tests of :mod:`.paired`, which fix one region for many draws, an
interval is needed for one pair of counts, so the p-value uses the device of Berger and Boos (1994),
"P values maximized over a confidence set for the nuisance parameter", JASA 89: the maximum over the
nuisance ``p_gained`` is taken over its exact (Clopper-Pearson) confidence set only, and that set's
error is added to the p-value.

The order of the sample space is that of the tests: the score statistic of Tango (1998), and where
``(1 - delta)**n`` is within the level, so that a test of that level holds them, the outcomes
without a loss come first. The nuisance is searched on a grid that is refined around its largest
tail; a tail is taken for 0.3 % more than the largest one found.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import special

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.statistics.tango import (
    IntArray,
    largest_rejected_loss,
    nuisance_points,
    tango_score,
)

NUISANCE_SHARE = 0.02
NUISANCE_POINTS = 25
# The grid is refined around its largest tail, so often and by so many points.
REFINEMENTS, REFINED_POINTS = 2, 9
# What is found of the largest tail, about.
GRID_ALLOWANCE = 0.997
TOLERANCE = 2e-5
SEARCH_STEPS = 40


def paired_p_value(
    lost: int, gained: int, n: int, delta: float, nuisance_error: float, *, zero_first: bool
) -> float:
    """Exact p-value of ``drop >= delta`` against ``drop < delta``, valid, in (0, 1].

    ``nuisance_error`` is that of the confidence set of ``p_gained``; it is part of the p-value.
    ``zero_first`` orders the outcomes without a loss before all others; it may depend on ``n``,
    ``delta`` and a level, never on the counts.
    """
    if lost - gained >= n * delta:
        return 1.0
    low, high = clopper_pearson(gained, n, nuisance_error)
    edge, end = max(0.0, -delta), (1 - delta) / 2
    low, high = float(np.clip(low, edge, end)), float(np.clip(high, edge, end))
    tails, grid = [0.0], np.linspace(np.sqrt(low), np.sqrt(high), NUISANCE_POINTS) ** 2
    largest = None
    for _ in range(1 + REFINEMENTS):
        grid = np.clip(grid, edge, end)
        points = nuisance_points(n, delta, grid, nuisance_error * 1e-2)
        if largest is None:
            # A refined grid lies within the first one, and so do the counts that it can give.
            used = np.arange(int(points.gained.max()) + 1)
            largest = _as_extreme(lost, gained, n, delta, used, zero_first)
        found = points.tail(largest[points.gained])
        tails.append(float(found.max()))
        if grid[0] == grid[-1]:
            break
        peak = int(found.argmax())
        around = grid[max(peak - 1, 0)], grid[min(peak + 1, len(grid) - 1)]
        grid = np.linspace(*around, REFINED_POINTS)
    return min(1.0, max(tails) / GRID_ALLOWANCE + nuisance_error)


def _as_extreme(
    lost: int, gained: int, n: int, delta: float, used: IntArray, zero_first: bool
) -> IntArray:
    """Largest ``lost`` per ``gained`` in ``used`` that is as extreme as the counts; -1 for none."""
    if zero_first and lost == 0:
        return np.where(used >= gained, 0, -1)
    observed = float(tango_score(lost, gained, n, delta))
    largest = largest_rejected_loss(used, n, delta, observed + 1e-9)
    return np.maximum(largest, 0) if zero_first else largest


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
    return -drop_upper_bound(gained, lost, n, alpha / 2), drop_upper_bound(
        lost, gained, n, alpha / 2
    )


@lru_cache(maxsize=65536)
def drop_upper_bound(lost: int, gained: int, n: int, alpha: float) -> float:
    """One-sided upper confidence bound of ``p_lost - p_gained``, at error ``alpha``.

    Examples:
        >>> round(drop_upper_bound(0, 0, 100, 0.05), 3)
        0.03
    """
    target, switch = float(special.ndtri(alpha)), _zero_first_from(n, alpha)

    def excess(delta: float, zero_first: bool) -> float:
        error = NUISANCE_SHARE * alpha
        p_value = paired_p_value(lost, gained, n, delta, error, zero_first=zero_first)
        return float(special.ndtri(min(p_value, 1 - 1e-12))) - target

    observed = (lost - gained) / n
    if excess(switch, True) > 0:
        start = max(observed, switch)
        return _search(lambda delta: excess(delta, True), start, lost + gained, n, target)
    if excess(switch, False) > 0:
        return switch
    outside = _search(lambda delta: excess(delta, False), observed, lost + gained, n, target)
    return min(outside, switch)


def bounded_by(lost: int, gained: int, n: int, delta: float, alpha: float) -> bool:
    """Whether :func:`drop_upper_bound` is at most ``delta``, but for its tolerance; no search."""
    error, zero_first = NUISANCE_SHARE * alpha, delta >= _zero_first_from(n, alpha)
    return paired_p_value(lost, gained, n, delta, error, zero_first=zero_first) <= alpha


def _zero_first_from(n: int, alpha: float) -> float:
    """The drop from which on a test of level ``alpha`` holds all outcomes without a loss."""
    return float(-np.expm1(np.log(GRID_ALLOWANCE * (alpha - NUISANCE_SHARE * alpha)) / n))


def _search(
    excess: Callable[[float], float], inside: float, changed: int, n: int, target: float
) -> float:
    """First value from ``inside`` on that is rejected, from outside."""
    spread = np.sqrt(max(changed - n * inside**2, 1.0)) / n
    start, outside = inside, min(inside - 1.5 * target * spread + target**2 / n, 1 - 1e-9)
    while excess(outside) > 0:
        if outside > 1 - 1e-6:
            return 1.0
        inside, outside = outside, min(2 * outside - start + 1e-9, 1 - 1e-9)
    return float(_close_in(excess, inside, outside))


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
