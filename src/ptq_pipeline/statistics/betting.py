"""Tests and bounds of a weighted mean, exact without a distribution: a bet against the hypothesis.

Units (clusters of samples, or samples with weights) have a *size* ``s`` and a *net* loss ``d``
(weighted losses minus gains), ``-s <= d <= s``. Units are independent; within one, anything goes.
The drop is ``E[sum d] / sum s``. Under the hypothesis ``drop >= delta`` the values::

    y = (delta * s - d) / (s_max * (1 - delta)) >= -1

have a mean, over the units, of at most 0. For a fixed stake ``t`` in (0, 1] the capital ``prod (1 +
t * y)`` then has expectation at most 1: the factors are independent and, by the inequality of
arithmetic and geometric means, the product of their expectations is at most ``(1 + t * mean
E[y])**m <= 1``, also where units have different sizes and means. A mixture over stakes has
expectation at most 1 too, so by Markov's inequality it reaches ``1 / alpha`` with probability at
most ``alpha``: an exact test at any number of units. *Shown bad* swaps the sign. Every factor grows
with ``delta``, so inverting the test gives an interval without a search for the nuisance.

With equal sizes and no loss the capital at ``t = 1`` is ``(1 - delta)**-m``: the rule for zero
losses of the exact tests in :mod:`.paired`, with clusters in the place of samples and a price for
the mixture. Where units are single samples without weights those tests have more power.

Sources: Waudby-Smith and Ramdas (2024), "Estimating means of bounded random variables by betting",
JRSS B 86, for the bet; Obuchowski (1998), "On the comparison of correlated proportions for
clustered data", Statistics in Medicine 17, for clusters as units of paired proportions.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.statistics.tango import FloatArray

# Fixed before any data. Most of the capital is where few losses in some hundred units decide,
# the rest on small stakes for groups near their limit.
STAKES = np.array([0.999, 0.88, 0.7, 0.45, 0.28, 0.17, 0.1, 0.06, 0.035, 0.02, 0.012, 0.007, 0.004])
SHARES = np.array([0.2, 0.36, 0.1, 0.1, 0.04, *([0.025] * 8)])
STEPS = 40
# Beyond so many kinds of units net losses are rounded, to this share of the largest size.
MOST_KINDS, GRAIN = 10_000, 1 / 4096


@dataclass(frozen=True)
class Units:
    """Outcomes of independent units, equal ones counted together.

    Attributes:
        size: Size or weight of a unit, positive, shape (kinds,).
        net: Its losses minus gains, in the same unit, shape (kinds,).
        count: How many units are like that, shape (kinds,).
    """

    size: FloatArray
    net: FloatArray
    count: FloatArray

    @classmethod
    def of(cls, size: FloatArray, net: FloatArray) -> Units:
        """Count equal units together.

        Raises:
            InputError: If a size is not positive or a net loss exceeds its size.
        """
        size, net = np.asarray(size, dtype=np.float64), np.asarray(net, dtype=np.float64)
        if size.size == 0 or not np.all(np.isfinite(size)) or size.min() <= 0:
            raise InputError("Sizes or weights of units must be positive numbers, one at least.")
        if np.any(np.abs(net) > size * (1 + 1e-9)):
            raise InputError("The net loss of a unit exceeds its size.")
        return cls._counted(size, net, np.ones_like(size))

    @classmethod
    def _counted(cls, size: FloatArray, net: FloatArray, count: FloatArray) -> Units:
        """Count equal units together, in the order of size and net loss."""
        order = np.lexsort((net, size))
        size, net, count = size[order], net[order], count[order]
        new = np.append(True, (np.diff(size) != 0) | (np.diff(net) != 0))
        kind = np.cumsum(new) - 1
        return cls(size[new], net[new], np.bincount(kind, weights=count).astype(np.float64))

    @property
    def drop(self) -> float:
        """Observed drop."""
        return float((self.net * self.count).sum() / (self.size * self.count).sum())

    def mirrored(self) -> Units:
        """The same with losses and gains swapped."""
        return Units(self.size, -self.net, self.count)

    def coarse(self) -> Units:
        """The same, or where kinds are very many, units of fewer kinds that lose a little more.

        A bet that the drop is small wins no more on these, so what they show holds.
        """
        if len(self.count) <= MOST_KINDS:
            return self
        grain = GRAIN * self.size.max()
        net = np.minimum(np.ceil(self.net / grain) * grain, self.size)
        return Units._counted(self.size, net, self.count)


def log_capital(units: Units, delta: float) -> float:
    """Logarithm of the mixture's capital against ``drop >= delta``.

    Examples:
        >>> units = Units.of(np.ones(100), np.zeros(100))
        >>> round(log_capital(units, 0.06), 1)
        5.3
    """
    y = (delta * units.size - units.net) / (units.size.max() * (1 - delta))
    factors = np.log1p(STAKES[:, None] * np.maximum(y, -1.0))
    return float(special.logsumexp(factors @ units.count, b=SHARES))


def units_below(units: Units, delta: float, alpha: float) -> bool:
    """Whether the drop is shown to be below ``delta``."""
    return log_capital(units.coarse(), delta) >= -np.log(alpha)


def units_above(units: Units, delta: float, alpha: float) -> bool:
    """Whether the drop is shown to be above ``delta``."""
    return log_capital(units.mirrored().coarse(), -delta) >= -np.log(alpha)


def resampled_below(
    size: FloatArray, net: FloatArray, count: FloatArray, delta: float, alpha: float
) -> NDArray[np.bool_]:
    """Whether each of several trials is shown to be below ``delta`` in each resampled audit.

    Args:
        size: Size of each unit, shape (units,).
        net: Its net loss in each trial, shape (trials, units).
        count: How often each audit holds it, shape (audits, units).
        delta: The drop under test.
        alpha: Level of each test.

    Returns:
        Shape (audits, trials).
    """
    y = np.maximum((delta * size - net) / (size.max() * (1 - delta)), -1.0)
    capital = np.log1p(STAKES[:, None, None] * y) @ count.T
    total = special.logsumexp(capital, axis=0, b=SHARES[:, None, None])
    return np.asarray(total.T >= -np.log(alpha))


def losses_borne(
    size: FloatArray, net: FloatArray, unknown: FloatArray, delta: float, alpha: float
) -> int:
    """How many of the unknown samples may be lost while the drop is still shown below ``delta``.

    They may be lost wherever that does most harm. A cluster's share of the logarithm of the capital
    is concave in its losses, so ``x`` of its ``u`` unknown ones take at most ``x / u`` of what all
    of them would take: a stake suffers most when clusters are lost whole, those of most harm per
    sample first. The bound is that of every stake at its own worst.

    Args:
        size: Samples per cluster, shape (clusters,).
        net: Known losses minus known gains, shape (clusters,).
        unknown: Samples without a known answer, shape (clusters,).
        delta: The drop under test.
        alpha: Level of the test.

    Returns:
        The number; -1 when the drop is not shown below ``delta`` even if none is lost.

    Examples:
        >>> losses_borne(np.full(90, 2.0), np.zeros(90), np.ones(90), 0.1, 0.04)
        8
    """
    kinds, count = np.unique(np.stack([size, net, unknown]), axis=1, return_counts=True)
    size, net, unknown = kinds
    scale = size.max() * (1 - delta)
    y = np.maximum((delta * size - net) / scale, -1.0)
    now = np.log1p(STAKES[:, None] * y)
    harm = now - np.log1p(STAKES[:, None] * np.maximum(y - unknown / scale, -1.0))
    order = np.argsort(-harm / np.maximum(unknown, 1e-9), axis=1, kind="stable")
    lost = np.cumsum((count * unknown)[order], axis=1)
    taken = np.cumsum(np.take_along_axis(harm * count, order, axis=1), axis=1)
    capital, needed = now @ count.astype(np.float64), -np.log(alpha)

    def still_shown(more: int) -> bool:
        worst = [np.interp(more, [0, *x], [0, *h]) for x, h in zip(lost, taken, strict=True)]
        return float(special.logsumexp(capital - np.array(worst), b=SHARES)) >= needed

    if not still_shown(0):
        return -1
    most = int((count * unknown).sum())
    return bisect_left(range(1, most + 1), True, key=lambda more: not still_shown(more))


def zero_losses_show(size: FloatArray, delta: float, alpha: float) -> bool:
    """Whether units of these sizes could show ``delta`` if nothing were lost; counts only."""
    size = np.asarray(size, dtype=np.float64)
    return size.size > 0 and units_below(Units.of(size, np.zeros_like(size)), delta, alpha)


@lru_cache(maxsize=256)
def clusters_needed(delta: float, alpha: float) -> int:
    """Clusters of equal size that could show ``delta`` if nothing were lost."""
    count = int(np.ceil(np.log(alpha) / np.log1p(-delta)))
    while not zero_losses_show(np.ones(count), delta, alpha):
        count += max(1, count // 50)
    return count


def upper_bound(units: Units, alpha: float) -> float:
    """Upper confidence bound of the drop, one-sided."""
    units = units.coarse()
    if not units_below(units, 1 - 1e-6, alpha):
        return 1.0
    low, high = min(units.drop, 1 - 2e-6), 1 - 1e-6
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if units_below(units, middle, alpha) else (middle, high)
    return high


def units_interval(units: Units, alpha: float) -> tuple[float, float]:
    """Two-sided confidence interval of the drop."""
    return -upper_bound(units.mirrored(), alpha / 2), upper_bound(units, alpha / 2)
