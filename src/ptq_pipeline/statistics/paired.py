"""Exact one-sided tests of the accuracy drop of one group.

Two questions are asked of the counts ``lost`` and ``gained`` out of ``n`` paired samples:

- *shown good*: is ``drop >= limit`` rejected, so that the drop is shown to be below its limit?
- *shown bad*: is ``drop <= limit`` rejected, so that the drop is shown to be above its limit?

Both are exact unconditional tests. The rejection region is ``lost <= b_max[gained]``, ordered by
the score statistic of Tango (1998), and its critical value is the largest for which the probability
of rejection, maximised over the nuisance ``p_gained``, stays at or below ``alpha``. For a fixed
``p_gained`` the region's probability falls as ``p_lost`` grows, so the worst point of the null
hypothesis lies on its boundary ``p_lost = p_gained + delta`` and only that line is searched.

The score statistic alone would ask for more samples than the exact rule when nothing was lost: at
level 0.015 it would need ``n * delta`` of about 4.7 although ``(1 - delta)**n <= 0.015`` holds from
4.2 on. So every region holds ``lost = 0`` (with any ``gained``) whenever ``(1 - delta)**n <=
alpha``. That set has probability ``(1 - p_lost)**n <= (1 - delta)**n`` on its own, and the critical
value is chosen for the union. Where ``(1 - delta)**n > alpha``, ``lost = gained = 0`` can be in no
region of level ``alpha``: at ``p_gained = 0`` it has that probability by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.statistics.tango import (
    BoolArray,
    FloatArray,
    IntArray,
    NuisancePoints,
    largest_rejected_loss,
    nuisance_points,
)

FEW = 60.0
DENSE_POINTS = 40
SPARSE_POINTS = 7
REFINED_POINTS = 5
PEAKS = 6
NEAR = 0.9
SEARCH_STEPS = 16
# The search aims a little below alpha, for what may lie between two points of the grid.
GRID_ALLOWANCE = 0.997
# Stop searching when this share of alpha is used: what is left buys no power worth its time.
ENOUGH = 0.97


@dataclass(frozen=True)
class RejectionRegion:
    """Region of one exact test: reject if ``lost <= b_max[gained]``.

    Attributes:
        delta: The drop under test, a fraction; negative for the mirrored test.
        size: Largest probability of rejection found under the null hypothesis, at most ``alpha``.
        critical: Critical value of the score statistic; ``-inf`` if the score part is empty.
        b_max: Largest rejected ``lost`` for each ``gained`` in 0..n, int64, shape (n + 1,); -1
            where none is rejected. Read-only.
    """

    n: int
    delta: float
    alpha: float
    size: float
    critical: float
    b_max: IntArray

    def rejects(self, lost: ArrayLike, gained: ArrayLike) -> BoolArray:
        """Whether each pair of counts lies in the region; shapes broadcast."""
        return np.asarray(lost) <= self.b_max[np.asarray(gained)]

    def power(self, p_lost: float, p_gained: float) -> float:
        """Probability of rejection at one alternative, exact up to 1e-9."""
        points = nuisance_points(self.n, p_lost - p_gained, np.array([p_gained]), 1e-9)
        tail = points.tail(self.b_max[points.gained]) - points.truncated
        return float(tail[0])


@lru_cache(maxsize=16384)
def rejection_region(n: int, delta: float, alpha: float) -> RejectionRegion:
    """Exact test of ``drop >= delta`` against ``drop < delta`` on ``n`` pairs, at level ``alpha``.

    For *shown bad* swap ``lost`` and ``gained`` and pass ``-limit``.

    Raises:
        InputError: If an argument is out of range.
    """
    if n < 1 or not -1 < delta < 1 or not 0 < alpha < 0.5:
        raise InputError(
            f"Exact test needs n >= 1, -1 < delta < 1 and 0 < alpha < 0.5, "
            f"got n={n}, delta={delta}, alpha={alpha}."
        )
    zero_losses = delta > 0 and n * np.log1p(-delta) <= np.log(alpha)
    search = _Search(n, delta, alpha, zero_losses)
    critical, size = search.run()
    b_max = search.region(np.arange(n + 1), critical)
    b_max.setflags(write=False)
    return RejectionRegion(n, delta, alpha, size, critical, b_max)


class _Search:
    """Finds the largest critical value whose size is at most alpha."""

    def __init__(self, n: int, delta: float, alpha: float, zero_losses: bool) -> None:
        self.n, self.delta, self.alpha, self.zero_losses = n, delta, alpha, zero_losses
        self.low = max(0.0, -delta)
        self.high = (1 - delta) / 2
        self.points = self._lay_out(self._grid())

    def _grid(self) -> FloatArray:
        # Counts are integers, so the size jumps where few answers change and where nearly all do:
        # the grid is geometric in the expected count from both ends, and holds the ends.
        half = self.n * (self.high - self.low) / 2
        steps = np.geomspace(min(0.1, half / 2), min(half, FEW), DENSE_POINTS)
        if half > FEW:
            steps = np.append(steps, np.geomspace(FEW, half, SPARSE_POINTS)[1:])
        steps = np.append(0.0, steps) / self.n
        return np.unique(np.concatenate((self.low + steps, self.high - steps)))

    def _lay_out(self, p_gained: FloatArray) -> NuisancePoints:
        return nuisance_points(
            self.n, self.delta, np.clip(p_gained, self.low, self.high), self.alpha * 1e-4
        )

    def region(self, gained: IntArray, critical: float) -> IntArray:
        """Largest rejected loss for the given ``gained`` at a critical value."""
        if np.isneginf(critical):
            largest = np.full(gained.shape, -1, dtype=np.int64)
        else:
            largest = largest_rejected_loss(gained, self.n, self.delta, critical)
        return np.maximum(largest, 0) if self.zero_losses else largest

    def _sizes(self, points: NuisancePoints, critical: float) -> FloatArray:
        used = np.arange(int(points.gained.max()) + 1)
        return points.tail(self.region(used, critical)[points.gained])

    def run(self) -> tuple[float, float]:
        """Search on the grid; add points around its maxima until they change nothing."""
        start = float(special.ndtri(self.alpha))
        critical, size = self._search(start, -np.inf, 0.0)
        while np.isfinite(critical):
            extra = self._lay_out(self._around_peaks(self._sizes(self.points, critical)))
            found = float(self._sizes(extra, critical).max())
            if found <= self.alpha:
                return critical, max(size, found)
            self.points = self._lay_out(np.union1d(self.points.p_gained, extra.p_gained))
            critical, size = self._search(critical - 1e-2, -np.inf, critical)
        return critical, size

    def _around_peaks(self, sizes: FloatArray) -> FloatArray:
        grid = self.points.p_gained
        padded = np.concatenate(([-1.0], sizes, [-1.0]))
        peaks = np.flatnonzero((padded[1:-1] >= padded[:-2]) & (padded[1:-1] >= padded[2:]))
        # A peak well below the highest cannot overtake it between two points of the grid.
        peaks = peaks[sizes[peaks] >= NEAR * sizes[peaks].max()]
        peaks = peaks[np.argsort(-sizes[peaks], kind="stable")][:PEAKS]
        inner = np.arange(1, REFINED_POINTS + 1) / (REFINED_POINTS + 1)
        extra = [grid[:1]]
        for i in peaks:
            for j in (i - 1, i):
                if 0 <= j < len(grid) - 1:
                    extra.append(grid[j] + inner * (grid[j + 1] - grid[j]))
        return np.unique(np.concatenate(extra))

    def _search(self, start: float, valid: float, invalid: float) -> tuple[float, float]:
        """Largest critical value between ``valid`` and ``invalid`` found in a few steps."""
        valid_size = float(self._sizes(self.points, valid).max())
        allowed = GRID_ALLOWANCE * self.alpha
        target = float(special.ndtri(allowed))
        trial, push = min(start, invalid - 1e-6), 1e-3
        for _ in range(SEARCH_STEPS):
            size = float(self._sizes(self.points, trial).max())
            if size <= allowed:
                valid, valid_size = trial, size
            else:
                invalid = trial
            if valid_size >= ENOUGH * allowed and np.isfinite(valid):
                break
            if np.isfinite(valid) and invalid - valid < 2e-3:
                break
            # The normal approximation is good enough to say how far to move; the size is a step
            # function of the critical value, so a move that falls short is pushed further.
            step = target - float(special.ndtri(np.clip(size, 1e-300, 0.5)))
            if size > allowed:
                step, push = step - push, 3 * push
            trial += step
            if np.isfinite(valid) and not valid + 5e-4 < trial < invalid - 5e-4:
                trial = (valid + invalid) / 2
            trial = min(trial, invalid - 5e-4)
        return valid, valid_size


def shown_below(
    lost: ArrayLike, gained: ArrayLike, n: ArrayLike, limit: ArrayLike, alpha: float
) -> BoolArray:
    """Whether each cell's drop is shown to be below its limit (*shown good*).

    Args:
        lost: Counts, shape (..., cells); ``gained`` likewise.
        gained: Answers that became right.
        n: Pairs per cell, shape (cells,).
        limit: Limits as fractions, shape (cells,).
        alpha: Level of each single test.
    """
    return _decide(lost, gained, n, limit, alpha, mirrored=False)


def shown_above(
    lost: ArrayLike, gained: ArrayLike, n: ArrayLike, limit: ArrayLike, alpha: float
) -> BoolArray:
    """Whether each cell's drop is shown to be above its limit (*shown bad*).

    Arguments and result as in :func:`shown_below`.
    """
    return _decide(lost, gained, n, limit, alpha, mirrored=True)


def _decide(
    lost: ArrayLike,
    gained: ArrayLike,
    n: ArrayLike,
    limit: ArrayLike,
    alpha: float,
    *,
    mirrored: bool,
) -> BoolArray:
    lost, gained = np.asarray(lost), np.asarray(gained)
    n, limit = np.asarray(n), np.asarray(limit, dtype=np.float64)
    if mirrored:
        lost, gained, limit = gained, lost, -limit
    # A drop on the wrong side of its limit can be in no region; its region is not even computed.
    decided = np.asarray((lost - gained) - n * limit < 0)
    kinds, kind = np.unique(np.stack([n, limit]), axis=1, return_inverse=True)
    for position, (size, bound) in enumerate(kinds.T):
        cells = np.flatnonzero(kind.ravel() == position)
        if decided[..., cells].any():
            region = rejection_region(int(size), float(bound), alpha)
            decided[..., cells] &= region.rejects(lost[..., cells], gained[..., cells])
    return decided
