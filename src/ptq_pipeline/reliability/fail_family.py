"""Which cells are tested for FAIL, and at which level; from counts alone.

Every cell with at least one image is looked at, so the level is corrected for all of them. A cell
whose images could not show a loss even if all of them were lost can never be refused, so it need
not be paid for (Tarone 1990, "A modified Bonferroni method for discrete data", Biometrics 46): the
level is ``alpha / k`` with the smallest ``k`` for which at most ``k`` cells could be shown bad at
that level. Those that cannot never are, so all tests together err with probability at most
``k * alpha / k = alpha``.

For ``n`` single images the smallest possible p-value of ``drop <= limit`` is that of ``n`` losses.
It is largest where the nuisance ``p_gained`` is, at ``(1 - limit) / 2``: ``((1 + limit) / 2)**n``.
For clusters it is one over the capital of a bet in which every image is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptq_pipeline.reliability.betting import Units, log_capital
from ptq_pipeline.reliability.cells import Cells


@dataclass(frozen=True)
class FailFamily:
    """The tests for FAIL of one trial.

    Attributes:
        cells: Positions of the cells that can be shown bad, shape (tested,).
        level: Level of each of their tests.
    """

    cells: NDArray[np.int64]
    level: float

    @property
    def size(self) -> int:
        """Tests, at least 1."""
        return max(len(self.cells), 1)


def fail_family(cells: Cells, alpha: float) -> FailFamily:
    """Fix which cells are tested for FAIL, and the level of each test.

    Args:
        cells: The cells; of groups whose clusters are not known none is tested.
        alpha: Level of all tests together.

    Returns:
        The family; the same for every trial on these cells.
    """
    smallest = np.array([_log_smallest_p(cells, i) for i in range(len(cells))], dtype=np.float64)
    for count in range(1, max(len(cells), 1) + 1):
        level = alpha / count
        able = np.flatnonzero(smallest <= np.log(level))
        if len(able) <= count:
            break
    return FailFamily(able.astype(np.int64), level)


def _log_smallest_p(cells: Cells, i: int) -> float:
    n, limit = float(cells.n[i]), float(cells.limit[i])
    if n < 1:
        return np.inf
    if not cells.clustered[i]:
        return n * float(np.log((1 + limit) / 2))
    size = cells.cluster_sizes.get((cells.level[i], cells.group[i]))
    if size is None:
        return np.inf
    return -log_capital(Units.of(size, size).mirrored(), -limit)
