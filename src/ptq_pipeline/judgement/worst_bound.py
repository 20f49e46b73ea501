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
from ptq_pipeline.statistics.betting import upper_bound
from ptq_pipeline.statistics.interval import drop_upper_bound

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
    judged = np.flatnonzero(cells.judged)
    drop = {int(i): cell_upper_bound(cells, counts, int(i), alpha) for i in judged}
    right = {int(i): cell_lower_bound(cells, counts, int(i), alpha, row=0) or 0.0 for i in judged}
    found = []
    for shift in (None, *(cells.shifts if len(cells.shifts) > 1 else ())):
        here = [i for i in drop if shift in (None, cells.keys[i].shift)]
        if not here:
            continue
        worst, least = max(here, key=drop.__getitem__), min(here, key=right.__getitem__)
        found.append(
            WorstGroup(
                shift=shift,
                confidence=1 - alpha,
                # Nine digits: what lies beyond depends on the processor.
                drop=round(drop[worst], 9),
                drop_cell=cells.keys[worst],
                accuracy=right[least],
                accuracy_cell=cells.keys[least],
            )
        )
    return tuple(found)


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
