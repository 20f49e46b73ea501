"""Nothing left to lose is not kept: cells in which the float model itself is near chance.

A group that the float model answers at chance loses nothing to quantization, so a small drop there
says nothing. A cell is judged only if the float model's accuracy is *shown*, by an exact one-sided
bound, to be above the policy's floor. The float model's answers are known before any quantized one,
so the judged cells are still fixed before the outcomes that they judge. Cells that are not judged
for this are tested for FAIL like all others.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.cells import Cells, Counts
from ptq_pipeline.judgement.judging import accuracy_lower_bound, cell_lower_bound
from ptq_pipeline.judgement.policy import Policy


def above_floor(cells: Cells, audit: Counts, policy: Policy, classes: int) -> Cells:
    """Leave out of the judged cells those whose float accuracy is not shown above its floor.

    Args:
        cells: The cells; judged by counts.
        audit: Audit counts, with clusters where samples have them.
        policy: Floors, and the error of each bound.
        classes: Classes of the model, for floors that stand relative to chance.

    Returns:
        The cells with ``judged``, ``at_floor`` and ``float_floor``.
    """
    floor = np.array([policy.floor(level, classes) for level in cells.levels], dtype=np.float64)
    at_floor = np.zeros(len(cells), dtype=np.bool_)
    for i in np.flatnonzero(cells.judged):
        bound = cell_lower_bound(cells, audit, int(i), policy.alpha)
        at_floor[i] = bound is not None and bound <= floor[i]
    return replace(cells, judged=cells.judged & ~at_floor, at_floor=at_floor, float_floor=floor)


def check_float_model(right: int, n: int, policy: Policy, classes: int) -> None:
    """Refuse an audit whose float model is not shown to be better than chance, before any trial.

    Args:
        right: Right answers of the float model on the clean audit images.
        n: These images.
        policy: The floor of the average, and the error of the bound.
        classes: Classes of the model.

    Raises:
        InputError: With the accuracy, the floor, and what to look at.
    """
    floor = policy.floor("average", classes)
    if n == 0 or accuracy_lower_bound(right, n, policy.alpha) > floor:
        return
    raise InputError(
        f"the float model is right on {100 * right / n:.1f} % of the {n:,} audit images, which "
        f"does not show more than the floor of {100 * floor:.1f} % (chance is "
        f"{100 / classes:.3g} %): it has nothing to lose, so nothing can be judged. Check the "
        "preprocessing (channel order, mean, std, resize), the labels and the order of the "
        "classes; worst_case_check.float_floor.average sets another floor."
    )
