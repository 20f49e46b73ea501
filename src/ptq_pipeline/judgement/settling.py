"""When is it settled what all audit images will show? Looking at some of them, at any time.

The audit set is finite and its images are evaluated in a random order that was fixed in advance,
so what has been seen of a cell is a sample of it *without replacement*. From ``hits`` among
``seen`` of ``total`` images follows, at any time, a set of totals that holds the true one: the
prior-posterior-ratio confidence sequence of Waudby-Smith and Ramdas (2020), "Confidence sequences
for sampling without replacement", NeurIPS 33. With a beta-binomial prior the ratio of prior to
posterior at a total ``L`` is::

    M(L) = BetaBin(hits; seen, a, b) / Hypergeometric(hits; total, L, seen)

At the true total it is a nonnegative martingale of mean 1, so by Ville's inequality it ever reaches
``1 / delta`` with probability at most ``delta``: ``{L : M(L) < 1 / delta}`` may be looked at after
every image. The prior only decides how fast the set shrinks.

A cell is *settled* when every ``(lost, gained)`` in its sets falls on the same side of the exact
test that the full audit will make. A draw that is called good although the full audit would not
show it good needs a wrong set in the very cell that is not shown good: probability at most
``delta``, for however many cells. A draw that is called bad wrongly needs a wrong set in one of its
cells, so there ``delta`` is divided among them. The full audit's verdicts keep their own error;
``delta`` is the probability, at most, of a PASS or FAIL that the full audit would not give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptq_pipeline.judgement.cells import Cells
from ptq_pipeline.judgement.judging import fail_family
from ptq_pipeline.judgement.stopping import DrawState
from ptq_pipeline.statistics.paired import rejection_region

# Few answers change: the prior's mean is 2 %.
PRIOR = (1.0, 49.0)
# Standard errors over its limit from which on a cell is looked at ahead of the others.
SUSPICIOUS = 2.0
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def total_bounds(
    hits: ArrayLike, seen: ArrayLike, total: ArrayLike, delta: float
) -> tuple[IntArray, IntArray]:
    """Smallest and largest total number of hits that the images seen so far leave possible.

    Args:
        hits: Hits among the images seen, shape (cells,).
        seen: Images seen, shape (cells,).
        total: Images of each cell, shape (cells,).
        delta: Probability, at most, that the true total is ever outside, over all looks.

    Examples:
        >>> low, high = total_bounds([5], [400], [800], 0.001)
        >>> int(low[0]), int(high[0])
        (5, 30)
    """
    from scipy import stats  # takes half a second

    hits, seen, total = (np.asarray(each, dtype=np.int64) for each in (hits, seen, total))
    least, most = hits, hits + total - seen
    mode = np.clip(((total + 1) * hits) // np.maximum(seen, 1), least, most)
    mode = np.where(seen == 0, least, mode)
    evidence = stats.betabinom.logpmf(hits, seen, *PRIOR) + np.log(delta)

    def possible(totals: IntArray) -> BoolArray:
        return stats.hypergeom.logpmf(hits, total, totals, seen) >= evidence

    # The probability has one peak in the total, so each end is found by bisection.
    lows = _edge(possible, mode, least)
    highs = _edge(possible, mode, most)
    return np.where(seen == 0, least, lows), np.where(seen == 0, most, highs)


def _edge(possible: Callable[[IntArray], BoolArray], inside: IntArray, end: IntArray) -> IntArray:
    """Farthest possible value from ``inside`` towards ``end``."""
    inside, outside = inside.copy(), end.copy()
    at_end = possible(outside)
    inside = np.where(at_end, outside, inside)
    while np.any(np.abs(outside - inside) > 1):
        middle = (inside + outside) // 2
        good = possible(middle)
        inside, outside = np.where(good, middle, inside), np.where(good, outside, middle)
    return inside


@dataclass(frozen=True)
class SettlingLevels:
    """Levels of a study's tests and of its looks.

    Attributes:
        alpha_image: Level of each *shown good* test, as in the full audit.
        alpha_bad: Level of each *shown bad* test, see :mod:`.judging`.
        delta_good: Error of each set of totals that *good* is read from.
        delta_bad: The same for *bad*.
        tested: Positions of the cells that are tested for *bad*.
    """

    alpha_image: float
    alpha_bad: float
    delta_good: float
    delta_bad: float
    tested: IntArray

    @classmethod
    def of(
        cls, alpha_image: float, alpha_images_bad: float, delta: float, draws: int, cells: Cells
    ) -> SettlingLevels:
        """Divide ``delta`` between good and bad, among draws, and between lost and gained.

        ``alpha_images_bad`` is the level of all *shown bad* tests of a draw together.
        """
        share = delta / 2 / max(draws, 1) / 2
        family = fail_family(cells, alpha_images_bad)
        return cls(alpha_image, family.level, share, share / family.size, family.cells)


def shown_bad(
    n: int, limit: float, counts: tuple[int, int, int], levels: SettlingLevels
) -> bool | None:
    """Whether all images of a cell will show it bad; None when that is not settled.

    The bound behind it holds at all times at once, so a cell may be looked at ahead of the others
    at no price. ``counts`` are seen, lost and gained images, ``limit`` is a fraction.
    """
    seen, lost, gained = counts
    low, high = total_bounds([lost, gained], [seen, seen], [n, n], levels.delta_bad)
    return _shown_bad(n, limit, seen, (low[0], high[0], low[1], high[1]), levels)


def _shown_bad(
    n: int, limit: float, seen: int, box: Sequence[Any], levels: SettlingLevels
) -> bool | None:
    lost_low, lost_high, gained_low, gained_high = box
    if lost_high - gained_low <= n * limit:
        return False
    above = lost_low - gained_high > n * limit
    if not above and seen < n:
        return None
    edge = rejection_region(n, -limit, levels.alpha_bad).b_max[lost_low : lost_high + 1]
    if above and gained_high <= edge.min():
        return True
    return False if gained_low > edge.max() or seen >= n else None


class DrawTracker:
    """What is settled about one draw.

    Args:
        cells: The cells; those of clustered groups stay open and cannot be good.
        levels: Levels of tests and looks.
    """

    def __init__(self, cells: Cells, levels: SettlingLevels) -> None:
        self.cells, self.levels = cells, levels
        self.seen, self.lost, self.gained = (np.zeros(len(cells), np.int64) for _ in range(3))
        self._unsure_good = cells.judged & ~cells.clustered
        self._unsure_bad = np.isin(np.arange(len(cells)), levels.tested) & ~cells.clustered
        self._good_lost = bool((cells.judged & cells.clustered).any()) or not cells.judged.any()
        self._bad = False

    @property
    def state(self) -> DrawState | Literal["running"]:
        """``good`` and ``bad`` as the full audit will show it; ``open`` when it will be neither."""
        if self._bad:
            return "bad"
        if self._unsure_bad.any() or (self._unsure_good.any() and not self._good_lost):
            return "running"
        return "open" if self._good_lost else "good"

    @property
    def needed(self) -> BoolArray:
        """Cells whose further images can still change the draw's state, shape (cells,)."""
        if self._bad:
            return np.zeros(len(self.cells), np.bool_)
        return self._unsure_bad | (self._unsure_good & (not self._good_lost))

    def update(self, seen: IntArray, lost: IntArray, gained: IntArray) -> None:
        """Add images: counts per cell, shape (cells,). Cells that are not needed are left alone."""
        needed = self.needed
        self.seen += np.where(needed, seen, 0)
        self.lost += np.where(needed, lost, 0)
        self.gained += np.where(needed, gained, 0)
        self._settle_good(np.flatnonzero(needed & self._unsure_good))
        self._settle_bad(np.flatnonzero(needed & self._unsure_bad))

    @property
    def suspicious(self) -> IntArray:
        """Cells that seem to lose more than their limit, the clearest first."""
        drop = self.lost - self.gained - self.seen * self.cells.limit
        score = drop / np.sqrt(np.maximum(self.lost + self.gained, 1))
        order = np.argsort(-score, kind="stable")
        return order[(score[order] > SUSPICIOUS) & self._unsure_bad[order]]

    def _boxes(self, where: IntArray, delta: float) -> list[IntArray]:
        seen, total = self.seen[where], self.cells.n[where]
        return [
            *total_bounds(self.lost[where], seen, total, delta),
            *total_bounds(self.gained[where], seen, total, delta),
        ]

    def _settle_good(self, where: IntArray) -> None:
        boxes = zip(where, *self._boxes(where, self.levels.delta_good), strict=True)
        for i, lost_low, lost_high, gained_low, gained_high in boxes:
            n, limit = int(self.cells.n[i]), float(self.cells.limit[i])
            if lost_low - gained_high >= n * limit:
                surely, maybe = False, False
            elif lost_high - gained_low >= n * limit and self.seen[i] < n:
                continue
            else:
                largest = rejection_region(n, limit, self.levels.alpha_image).b_max
                edge = largest[gained_low : gained_high + 1]
                surely, maybe = lost_high <= edge.min(), lost_low <= edge.max()
            if surely:
                # A drop below its limit is in no region of the mirrored test.
                self._unsure_good[i] = self._unsure_bad[i] = False
            elif not maybe:
                self._unsure_good[i], self._good_lost = False, True

    def _settle_bad(self, where: IntArray) -> None:
        where = where[self._unsure_bad[where]]
        boxes = zip(*self._boxes(where, self.levels.delta_bad), strict=True)
        for i, box in zip(where, boxes, strict=True):
            n, limit = int(self.cells.n[i]), float(self.cells.limit[i])
            found = _shown_bad(n, limit, int(self.seen[i]), box, self.levels)
            if found:
                self._bad = True
                return
            if found is False:
                self._unsure_bad[i] = False
