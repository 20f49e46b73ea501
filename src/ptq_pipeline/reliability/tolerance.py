"""What nearly all draws keep: a distribution-free tolerance bound of the worst group.

"With 95 % confidence at least ``share`` of all draws lose no more than ``bound`` in the worst
judged group." For a fixed ``x`` a draw is shown to keep ``x`` when every judged cell is shown below
``x`` at level ``alpha_image`` (:mod:`.paired`, or :mod:`.betting` for clusters); the smallest such
``x`` is the draw's own upper bound of its worst group. ``bound`` is the order statistic of these
bounds that leaves ``allowed`` of them above.

If fewer than ``share`` of all draws truly stay at or below ``bound``, then at some ``x`` below the
true quantile at most ``allowed`` of the draws were not shown to keep ``x``, although more than
``1 - share`` of all draws lose more than ``x``. For each fixed ``x`` this is the false PASS of
:mod:`.draws` with one limit for all groups, so its probability is at most the bound there, whatever
the shared images do. Order statistics of the *estimated* drops would not do: they ignore the error
of the images.

See Wilks (1941), "Determination of sample sizes for setting tolerance limits", Annals of
Mathematical Statistics 12, for the order statistic.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptq_pipeline.reliability.cells import Cells, Counts
from ptq_pipeline.reliability.draws import DrawSplit, share_of_good_draws
from ptq_pipeline.reliability.outcome_tests import cells_below
from ptq_pipeline.reliability.sentences import Sentence, say

# Fixed before any data, in fractions: steps of a twentieth of a point at first, then coarser.
GRID = np.unique(
    np.round(np.concatenate([np.arange(1, 101) * 5e-4, np.geomspace(0.05, 0.99, 120)]), 5)
)
LEADING = 6


@dataclass(frozen=True)
class Tolerance:
    """A statement about nearly all draws.

    Attributes:
        share: At least this share of draws.
        bound: Loses no more than this in the worst judged group, a fraction; 1 when nothing less
            is shown.
        confidence: With this confidence.
        draws: Distinct draws behind it.
        allowed: Draws whose own bound may lie above.
        by_level: The same bound for the groups of one level alone.
    """

    share: float
    bound: float
    confidence: float
    draws: int
    allowed: int
    by_level: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        sentence = self.statement
        return {**asdict(self), "statement": sentence.text, "sentence": sentence.to_json()}

    @property
    def statement(self) -> Sentence:
        """The claim in a sentence."""
        if self.share <= 0:
            return say("tolerance.no_share")
        if self.bound >= GRID[-1]:
            return say("tolerance.no_bound")
        return say(
            "tolerance.bound", confidence=self.confidence, share=self.share, bound=self.bound
        )


def tolerance_bound(
    audit: Counts, cells: Cells, split: DrawSplit, draws: int, unfinished: int
) -> Tolerance:
    """Bound what nearly all draws lose.

    Args:
        audit: Audit counts of the preset draws that finished.
        cells: The cells.
        split: Error budget of the draws; it fixes share and order statistic before any outcome.
        draws: Distinct preset draws.
        unfinished: How many of them failed or are missing; each lies above any bound.

    Returns:
        The bound.
    """
    allowed = max(split.allowed, 0)
    share = (
        1 - split.p0
        if split.pass_possible
        else share_of_good_draws(draws, 0, split.alpha_image, split.alpha)
    )
    spare = allowed - unfinished
    tested = np.flatnonzero(cells.testable)
    levels = np.asarray(cells.level, dtype=object)
    by_level = {
        level: _bound(audit, cells, tested[levels[tested] == level], split.alpha_image, spare)
        for level in dict.fromkeys(levels[tested])
    }
    # A draw keeps x in the worst group when it keeps x at every level.
    bound = _all_levels(audit, cells, tested, split.alpha_image, spare, by_level)
    return Tolerance(share, bound, 1 - split.alpha, draws, allowed, by_level)


def _all_levels(
    audit: Counts,
    cells: Cells,
    tested: NDArray[np.int64],
    alpha: float,
    spare: int,
    by_level: dict[str, float],
) -> float:
    if tested.size == 0 or spare < 0 or not audit.trial_ids:
        return 1.0
    start = int(np.searchsorted(GRID, max(by_level.values())))
    return _first_kept(audit, cells, tested, alpha, spare, start)


def _bound(
    audit: Counts, cells: Cells, tested: NDArray[np.int64], alpha: float, spare: int
) -> float:
    """Smallest value of the grid that all but ``spare`` draws are shown to keep in these cells."""
    if tested.size == 0 or spare < 0 or not audit.trial_ids:
        return 1.0
    drop = audit.drop[:, tested]
    reach = (drop + 3 * np.sqrt((np.abs(drop) + 1 / cells.n[tested]) / cells.n[tested])).max(axis=0)
    leading = tested[np.argsort(-reach, kind="stable")[:LEADING]]
    low, high = -1, len(GRID)
    while high - low > 1:
        middle = (low + high) // 2
        if _kept(audit, cells, leading, GRID[middle], alpha, spare):
            high = middle
        else:
            low = middle
    return _first_kept(audit, cells, tested, alpha, spare, high)


def _first_kept(
    audit: Counts,
    cells: Cells,
    tested: NDArray[np.int64],
    alpha: float,
    spare: int,
    start: int,
) -> float:
    for position in range(start, len(GRID)):
        if _kept(audit, cells, tested, GRID[position], alpha, spare):
            return float(GRID[position])
    return 1.0


def _kept(
    audit: Counts, cells: Cells, chosen: NDArray[np.int64], x: float, alpha: float, spare: int
) -> bool:
    above = (audit.drop[:, chosen] >= x).any(axis=1)
    if above.sum() > spare:
        return False
    limits = np.full(len(cells), x)
    return int((~cells_below(audit, cells, chosen, limits, alpha).all(axis=1)).sum()) <= spare
