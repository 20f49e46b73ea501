"""What the worst judged group loses at most, and how often it is right at least.

Which group is truly worst is fixed, though nobody knows it: its own one-sided bound holds with its
confidence, and the largest bound of all groups is no smaller. So the *maximum of uncorrected
one-sided upper bounds* bounds the worst drop (an intersection-union argument, Berger 1982), and the
minimum of lower bounds bounds the accuracy of the group that is right least often. An interval that
holds for all groups together (Bonferroni) would be wider for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ptq_pipeline.core.documents import Document, Drop, Share
from ptq_pipeline.core.group_ids import CellKey
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.judging import cell_lower_bound
from ptq_pipeline.judgement.sentences import Sentence, say
from ptq_pipeline.statistics.betting import units_below, upper_bound
from ptq_pipeline.statistics.interval import bounded_by, drop_upper_bound

FloatArray = NDArray[np.float64]


class WorstGroup(Document):
    """Bounds of the worst judged group, over all shifts or under one; fractions.

    Attributes:
        shift: None for all of them.
        drop: No judged group loses more, with this ``confidence``.
        drop_cell: The cell whose own bound that is: level, group, shift.
        accuracy: Every judged group is answered right at least so often.
        accuracy_cell: Likewise.
    """

    shift: str | None
    confidence: float
    drop: Drop
    drop_cell: CellKey
    accuracy: Share
    accuracy_cell: CellKey

    @property
    def sentence(self) -> Sentence:
        """What is shown, in a sentence."""
        values = {"drop": self.drop, "accuracy": self.accuracy}
        return say("worst_group.bound", confidence=self.confidence, **values)


def worst_groups(cells: Cells, counts: Counts, alpha: float) -> tuple[WorstGroup, ...]:
    """Bound the worst judged group of the only trial: over all shifts, then under each.

    Each bound holds on its own at ``1 - alpha``. A shift without a judged group has none.
    """
    found = []
    for shift in cells.shifts:
        here = np.flatnonzero(cells.judged & (cells.shift_of == shift)).tolist()
        if not here:
            continue
        worst, drop = _largest_bound(cells, counts, here, alpha)
        right = {i: cell_lower_bound(cells, counts, i, alpha, row=0) or 0.0 for i in here}
        least = min(here, key=right.__getitem__)
        found.append(
            WorstGroup(
                shift=shift,
                confidence=1 - alpha,
                # Nine digits: what lies beyond depends on the processor.
                drop=round(drop, 9),
                drop_cell=cells.keys[worst],
                accuracy=right[least],
                accuracy_cell=cells.keys[least],
            )
        )
    if not found:
        return ()
    worst_of = max(found, key=lambda each: each.drop)
    least_of = min(found, key=lambda each: each.accuracy)
    lower = {"accuracy": least_of.accuracy, "accuracy_cell": least_of.accuracy_cell}
    overall = worst_of.model_copy(update={"shift": None, **lower})
    return (overall, *(found if len(cells.shifts) > 1 else ()))


def _largest_bound(
    cells: Cells, counts: Counts, chosen: Sequence[int], alpha: float
) -> tuple[int, float]:
    """The cell with the largest upper bound, and that bound.

    Where a cell is shown to lose no more than the largest bound so far its own need not be found.
    """
    drop, n = counts.drop[0, chosen], cells.n[chosen]
    likely = drop + 2 * np.sqrt((np.abs(drop) + 1 / n) / n)
    worst, largest = chosen[0], -1.0
    for place in np.argsort(-likely, kind="stable").tolist():
        cell = chosen[place]
        if largest > -1 and _bounded_by(cells, counts, cell, largest, alpha):
            continue
        if (bound := cell_upper_bound(cells, counts, cell, alpha)) > largest:
            worst, largest = cell, bound
    return worst, largest


def _bounded_by(cells: Cells, counts: Counts, cell: int, delta: float, alpha: float) -> bool:
    """Whether one cell's upper bound is at most ``delta``."""
    if cell in counts.clusters:
        return units_below(counts.units(cell, 0), min(delta, 1 - 1e-6), alpha)
    lost, gained, n = int(counts.lost[0, cell]), int(counts.gained[0, cell]), int(cells.n[cell])
    return not cells.clustered[cell] and bounded_by(lost, gained, n, delta, alpha)


def cell_upper_bound(cells: Cells, counts: Counts, cell: int, alpha: float) -> float:
    """One-sided upper bound of one cell's drop in the only trial; 1 where nothing is shown."""
    if cell in counts.clusters:
        return upper_bound(counts.units(cell, 0), alpha)
    if cells.clustered[cell]:
        return 1.0
    lost, gained = int(counts.lost[0, cell]), int(counts.gained[0, cell])
    return drop_upper_bound(lost, gained, int(cells.n[cell]), alpha)


def accuracy_bounds(
    counts: Counts, cells: Cells, chosen: Sequence[int], alpha: float
) -> FloatArray:
    """Lower bound of the worst accuracy in the ``chosen`` cells, of each trial, shape (trials,)."""
    bounds = np.ones((len(counts.trial_ids), len(chosen)))
    for column, cell in enumerate(chosen):
        if cells.clustered[cell]:
            found = [
                cell_lower_bound(cells, counts, cell, alpha, row=row)
                for row in range(len(counts.trial_ids))
            ]
            bounds[:, column] = [each or 0.0 for each in found]
            continue
        n = int(counts.n[cell])
        before = round(float(counts.float_accuracy[cell]) * n)
        right = before - (counts.lost[:, cell] - counts.gained[:, cell])
        # Clopper and Pearson, one-sided.
        bound = special.betaincinv(np.maximum(right, 1), n - right + 1, alpha)
        bounds[:, column] = np.where(right > 0, bound, 0.0)
    return bounds.min(axis=1, initial=1.0)
