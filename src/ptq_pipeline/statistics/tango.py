"""The score statistic of a paired difference, and exact tail probabilities of regions built on it.

A group of ``n`` samples is answered by two models. ``lost`` samples were right before and are wrong
now (probability ``p_lost``), ``gained`` are the reverse (``p_gained``), and the drop of accuracy is
``p_lost - p_gained``. Tango (1998), "Equivalence test and confidence interval for the difference in
proportions for the paired-sample design", Statistics in Medicine 17, gives the score statistic of
``drop = delta`` with the restricted maximum likelihood estimate of ``p_gained`` in closed form.

Only the *ordering* of the sample space comes from that statistic. Probabilities are sums over the
exact trinomial distribution, so nothing here leans on a normal approximation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
TINY = float(np.finfo(np.float64).tiny)
GUESSES = 3
# Where the largest loss is looked for, beside the guess.
NEAR = np.array([-2, -1, 0, 1, 2])


def tango_score(lost: ArrayLike, gained: ArrayLike, n: int, delta: float) -> FloatArray:
    """Score statistic of the hypothesis ``p_lost - p_gained = delta``; counts broadcast.

    Returns:
        The statistic, negative where the observed drop is below ``delta``. It rises with ``lost``
        and falls with ``gained``. Where its variance is zero the observed drop equals ``delta`` and
        the statistic is 0.

    Examples:
        >>> float(tango_score(0, 0, 400, 0.01).round(4))
        -2.0101
    """
    b = np.asarray(lost, dtype=np.float64)
    c = np.asarray(gained, dtype=np.float64)
    variance = _variance(b, c, n, delta)
    difference = b - c - n * delta
    return np.where(variance > 0, difference / np.sqrt(np.maximum(variance, TINY)), 0.0)


def _variance(b: FloatArray, c: FloatArray, n: int, delta: float) -> FloatArray:
    """Variance of ``lost - gained``, with ``p_gained`` estimated under the hypothesis."""
    half = (-b - c + (2 * n - b + c) * delta) / (4 * n)
    product = -c * delta * (1 - delta) / (2 * n)
    root = np.sqrt(np.maximum(half * half - product, 0.0)) - half
    nuisance = np.minimum(np.maximum(root, max(0.0, -delta)), (1 - delta) / 2)
    return np.asarray(n * (2 * nuisance + delta * (1 - delta)))


def largest_rejected_loss(gained: IntArray, n: int, delta: float, critical: float) -> IntArray:
    """Largest ``lost`` per ``gained`` whose statistic is at most ``critical``; -1 where none is.

    The variance hardly depends on ``lost``, so a few steps of a fixed point find nearly all values;
    bisection over integers finds the others. It relies on the statistic rising with ``lost``.
    """
    high = n - gained + 1
    # A region is only ever built for drops below delta, so the search can stop there.
    high = np.minimum(high, np.maximum(np.floor(n * delta).astype(np.int64) + gained + 1, 0))
    c = gained.astype(np.float64)
    b = c + n * delta
    for _ in range(GUESSES):
        b = c + n * delta + critical * np.sqrt(_variance(np.maximum(b, 0.0), c, n, delta))
    found = np.minimum(np.maximum(np.floor(b), -1.0).astype(np.int64), high - 1)
    tried = found + NEAR[:, None]
    inside = (tango_score(np.maximum(tried, 0), gained, n, delta) <= critical) & (tried < high)
    inside |= tried < 0
    found = tried[0] + inside.sum(axis=0) - 1
    open_ = np.flatnonzero(~inside[0] | inside[-1])
    if open_.size:
        found[open_] = _bisected(gained[open_], high[open_], n, delta, critical)
    return found


def _bisected(gained: IntArray, high: IntArray, n: int, delta: float, critical: float) -> IntArray:
    low = np.full(gained.shape, -1, dtype=np.int64)
    while np.any(high - low > 1):
        middle = (low + high) >> 1
        inside = (tango_score(middle, gained, n, delta) <= critical) & (middle >= 0)
        low = np.where(inside, middle, low)
        high = np.where(inside, high, middle)
    return low


@dataclass(frozen=True)
class NuisancePoints:
    """Boundary points ``p_lost = p_gained + delta`` with their distribution of ``gained``.

    Attributes:
        p_gained: The points, shape (points,).
        starts: Where each point's terms begin in the flat arrays, shape (points,).
        gained: Values of ``gained`` that carry mass, flat.
        weight: Their probabilities, flat.
        conditional: ``P(lost)`` of a sample that is not gained, flat.
        truncated: Mass of ``gained`` left out at each point, shape (points,).
    """

    n: int
    p_gained: FloatArray
    starts: IntArray
    gained: IntArray
    weight: FloatArray
    conditional: FloatArray
    truncated: FloatArray

    def tail(self, largest: IntArray) -> FloatArray:
        """Upper bound of the probability of ``lost <= largest[gained]`` at each point.

        ``largest`` has an entry for each flat one of ``gained``, -1 for none; the truncated mass
        counts as rejected. Shape (points,).
        """
        remaining = self.n - self.gained
        used = largest >= 0
        k = np.where(used, np.minimum(largest, remaining), 0)
        certain = used & (k >= remaining)
        # betainc(m - k, k + 1, 1 - p) is the binomial distribution function at k.
        cdf = special.betainc(np.maximum(remaining - k, 1), k + 1.0, 1.0 - self.conditional)
        cdf = np.where(certain, 1.0, np.where(used, cdf, 0.0))
        return np.add.reduceat(self.weight * cdf, self.starts) + self.truncated


def nuisance_points(
    n: int, delta: float, p_gained: FloatArray, negligible: float
) -> NuisancePoints:
    """Lay out the exact distribution of ``gained`` at each nuisance value.

    Args:
        n: Number of pairs.
        delta: The hypothesised drop.
        p_gained: Nuisance values in ``[max(0, -delta), (1 - delta) / 2]``, shape (points,).
        negligible: About the mass that may be cut off; what is cut is added back to every tail.
    """
    z = -special.ndtri(negligible / 2)
    reach = z * np.sqrt(n * p_gained * (1 - p_gained)) + z * z / 3 + 1
    first = np.maximum(np.floor(n * p_gained - reach), 0).astype(np.int64)
    last = np.minimum(np.ceil(n * p_gained + reach), n).astype(np.int64)
    last = np.where(p_gained > 0, last, 0)
    lengths = last - first + 1
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    offsets = np.arange(int(lengths.sum())) - np.repeat(starts, lengths)
    gained = np.repeat(first, lengths) + offsets
    p = np.repeat(p_gained, lengths)
    log_weight = _log_ways(n)[gained] + special.xlogy(gained, p) + special.xlog1py(n - gained, -p)
    weight = np.exp(log_weight)
    conditional = np.clip((p + delta) / (1 - p), 0.0, 1.0)
    truncated = np.maximum(1.0 - np.add.reduceat(weight, starts), 0.0)
    # Rounding leaves about 1e-12; anything that small is no mass that was cut.
    truncated = np.where(truncated < 1e-11, 0.0, truncated)
    return NuisancePoints(n, p_gained, starts, gained, weight, conditional, truncated)


@lru_cache(maxsize=128)
def _log_ways(n: int) -> FloatArray:
    """Logarithm of the binomial coefficients of ``n``, shape (n + 1,)."""
    log_factorial = special.gammaln(np.arange(1.0, n + 2))
    return np.asarray(log_factorial[n] - log_factorial - log_factorial[::-1])
