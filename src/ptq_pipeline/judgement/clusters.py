"""Outcomes by cluster, for groups that hold several audit samples of one user, scene or burst."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptq_pipeline.core.group_ids import CLEAN
from ptq_pipeline.core.outcomes import Outcomes
from ptq_pipeline.judgement.cells import Cells, ClusterOutcomes


def cluster_outcomes(
    outcomes: Outcomes, cells: Cells, trial_ids: Sequence[str]
) -> dict[int, ClusterOutcomes]:
    """Net losses by cluster of every clustered cell.

    Args:
        outcomes: Answers on the samples.
        cells: The cells.
        trial_ids: Trials, one row each.

    Returns:
        By position of the cell. Shifts whose answers are not here are left out: their clusters are
        not known, so nothing is shown of them.
    """
    groups = outcomes.groups
    here, all_codes = {*outcomes.shifts, *groups.conditions}, groups.cluster_codes
    found: dict[int, ClusterOutcomes] = {}
    for i, key in enumerate(cells.keys):
        if not trial_ids or key.of not in all_codes or key.shift not in here:
            continue
        codes, shift = all_codes[key.of], key.shift
        inside = codes >= 0
        if shift in groups.conditions:
            inside, shift = inside & groups.conditions[shift], CLEAN
        # Under a condition only some of the clusters are left.
        own = np.unique(codes[inside], return_inverse=True)[1]
        size = np.bincount(own).astype(np.float64)
        lost = outcomes.losses(trial_ids, shift, inside)
        right = outcomes.reference_right[outcomes.shifts.index(shift), inside]
        net = [np.bincount(own, weights=each, minlength=len(size)) for each in lost]
        reached = np.bincount(own, weights=right, minlength=len(size)).astype(np.float64)
        found[i] = ClusterOutcomes(size, np.array(net), reached)
    return found
