"""What nearly all draws keep: a distribution-free tolerance bound of the worst group.

"With 95 % confidence at least ``share`` of all draws lose no more than ``bound`` in the worst
judged group." For a fixed ``x`` a draw is shown to keep ``x`` when every judged cell is shown
below ``x`` at level ``alpha_image`` (:mod:`ptq_pipeline.statistics.paired`, or
:mod:`ptq_pipeline.statistics.betting` for clusters); the smallest such ``x`` is the draw's own
upper bound of its worst group. ``bound`` is the order statistic of these bounds that leaves
``allowed`` of them above.

If fewer than ``share`` of all draws truly stay at or below ``bound``, then at some ``x`` below the
true quantile at most ``allowed`` of the draws were not shown to keep ``x``, although more than
``1 - share`` of all draws lose more than ``x``. For each fixed ``x`` this is the false PASS of
:mod:`ptq_pipeline.statistics.draws` with one limit for all groups, so its probability is at most
the bound there, whatever the shared images do. Order statistics of the *estimated* drops would not
do: they ignore the error of the images. See Wilks (1941), "Determination of sample sizes for
setting tolerance limits", Annals of Mathematical Statistics 12, for the order statistic.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ptq_pipeline.core.documents import Count, Document
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.judging import cells_below
from ptq_pipeline.judgement.recipe import JudgedRecipe
from ptq_pipeline.judgement.sentences import Sentence, say
from ptq_pipeline.judgement.worst_bound import accuracy_bounds
from ptq_pipeline.statistics.draws import DrawSplit, share_of_good_draws, split_budget

# Fixed before any data, in fractions: steps of a twentieth of a point at first, then coarser.
LOSSES = np.unique(
    np.round(np.concatenate([np.arange(1, 101) * 5e-4, np.geomspace(0.05, 0.99, 120)]), 5)
)
# Cells that are likely to decide are tested before all are.
LEADING = 6


class Tolerance(Document):
    """A statement about nearly all draws.

    Attributes:
        share: At least this share of draws loses no more than ``bound``.
        bound: In the worst judged group, a fraction; 1 when nothing less is shown.
        draws: Distinct draws behind it.
        allowed: Draws whose own bound may lie above.
        by_level: The same bound for the groups of one level alone; ``by_shift`` likewise.
        accuracy: At least the same share of draws is right so often in every judged group.
    """

    added: ClassVar[frozenset[str]] = frozenset(
        {"allowed", "by_level", "by_shift", "accuracy", "sentence"}
    )

    share: float
    bound: float
    confidence: float
    draws: Count
    allowed: int = 0
    by_level: dict[str, float] = {}
    by_shift: dict[str, float] = {}
    accuracy: float | None = None
    statement: str
    sentence: Sentence | None = None


def tolerance_bound(recipe: JudgedRecipe) -> Tolerance:
    """Bound what nearly all draws lose, over the preset draws only, as PASS.

    How many there are is not chosen after looking. Each that failed or is missing lies above any
    bound. Where draws were sampled it speaks of those in full. The error budget fixes share and
    order statistic before any outcome.
    """
    kept = recipe.judged.counts.only(recipe.draws.preset_done)
    draws, split = max(recipe.draws.distinct, 1), recipe.split
    if recipe.draws.count("sampled"):
        # Of a sampled draw no more is known than that it keeps its limits.
        draws = min(draws, split.sampling.full)
        split = split_budget(draws, split.p0, split.alpha)
    unfinished = draws - len(kept.trial_ids)
    return bound_draws(kept, recipe.judged.cells, split, draws, unfinished)


def bound_draws(
    audit: Counts, cells: Cells, split: DrawSplit, draws: int, unfinished: int = 0
) -> Tolerance:
    """Bound what nearly all of ``draws`` lose, of which ``unfinished`` are not in ``audit``."""
    allowed, confidence = max(split.allowed, 0), 1 - split.alpha
    share = (
        1 - split.p0
        if split.pass_possible
        else share_of_good_draws(draws, 0, split.alpha_image, split.alpha)
    )
    tested = np.flatnonzero(cells.testable)
    search = _Search(audit, cells, split.alpha_image, allowed - unfinished)
    by_level = {
        level: search.bound(tested[cells.levels[tested] == level])
        for level in dict.fromkeys(cells.levels[tested])
    }
    # A draw keeps x in the worst group when it keeps x at every level.
    start = int(np.searchsorted(LOSSES, max(by_level.values(), default=0.0)))
    bound = search.first_kept(tested, start)
    by_shift = {s: search.bound(tested[cells.shift_of[tested] == s]) for s in cells.shifts}
    if share <= 0:
        sentence = say("tolerance.no_share")
    elif bound >= LOSSES[-1]:
        sentence = say("tolerance.no_bound")
    else:
        sentence = say("tolerance.bound", confidence=confidence, share=share, bound=bound)
    return Tolerance(
        share=share,
        bound=bound,
        confidence=confidence,
        draws=draws,
        allowed=allowed,
        by_level=by_level,
        by_shift=by_shift,
        accuracy=search.accuracy(tested),
        statement=sentence.text,
        sentence=sentence,
    )


@dataclass(frozen=True)
class _Search:
    """Looks for the smallest value that all but ``spare`` draws are shown to keep."""

    audit: Counts
    cells: Cells
    alpha: float
    spare: int

    def bound(self, tested: NDArray[np.int64]) -> float:
        """Smallest value of the grid that is kept in these cells, 1 if there is none."""
        drop, n = self.audit.drop[:, tested], self.cells.n[tested]
        if drop.size == 0:
            return 1.0
        reach = (drop + 3 * np.sqrt((np.abs(drop) + 1 / n) / n)).max(axis=0)
        # The cells that are likely to decide narrow it down before all are tested.
        leading = tested[np.argsort(-reach, kind="stable")[:LEADING]]
        start = bisect_left(LOSSES, True, key=lambda x: self.kept(leading, x))
        return self.first_kept(tested, start)

    def accuracy(self, tested: NDArray[np.int64]) -> float:
        """What all but the spare draws are right at least, in the worst of these cells.

        Of each draw's own lower bound at the level of its tests the smallest are left out, as
        many as may be spared.
        """
        if tested.size == 0 or not 0 <= self.spare < len(self.audit.trial_ids):
            return 0.0
        bounds = accuracy_bounds(self.audit, self.cells, tested.tolist(), self.alpha)
        return round(float(np.sort(bounds)[self.spare]), 9)

    def first_kept(self, tested: NDArray[np.int64], start: int) -> float:
        """First value of the grid from ``start`` on that is kept."""
        if tested.size == 0 or self.spare < 0 or not self.audit.trial_ids:
            return 1.0
        kept = (float(x) for x in LOSSES[start:] if self.kept(tested, x))
        return next(kept, 1.0)

    def kept(self, chosen: NDArray[np.int64], x: float) -> bool:
        """Whether all but the spare draws are shown to keep ``x`` in the chosen cells."""
        above = (self.audit.drop[:, chosen] >= x).any(axis=1)
        if above.sum() > self.spare:
            return False
        cells = replace(self.cells, limit=np.full(len(self.cells), x))
        shown = cells_below(self.audit, cells, chosen, self.alpha).all(axis=1)
        return int((~shown).sum()) <= self.spare
