"""Lower bounds of the accuracy of one group, for floors that somebody was promised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptq_pipeline.reliability.betting import Units, upper_bound
from ptq_pipeline.reliability.cells import Cells, Counts


def accuracy_lower_bound(correct: int, n: int, alpha: float) -> float:
    """Exact one-sided (Clopper-Pearson) lower bound of an accuracy; samples are independent.

    Examples:
        >>> round(accuracy_lower_bound(95, 100, 0.05), 4)
        0.8977
    """
    from scipy.stats import beta

    return 0.0 if correct == 0 else float(beta.ppf(alpha, correct, n - correct + 1))


def clustered_accuracy_lower_bound(
    size: NDArray[np.float64], correct: NDArray[np.float64], alpha: float
) -> float:
    """One-sided lower bound of an accuracy where only clusters are independent.

    Errors are bet on as losses are (:mod:`.betting`): exact at any number of clusters, whatever
    happens within one.

    Args:
        size: Samples per cluster, shape (clusters,).
        correct: Right answers per cluster, shape (clusters,).
        alpha: Error.
    """
    return 1 - upper_bound(Units.of(size, np.asarray(size) - np.asarray(correct)), alpha)


def float_lower_bound(cells: Cells, audit: Counts, cell: int, alpha: float) -> float | None:
    """Lower bound of the float model's accuracy in one cell; as :func:`cell_lower_bound`."""
    found = audit.clusters.get(cell)
    if found is not None:
        return clustered_accuracy_lower_bound(found.size, found.right, alpha)
    if cells.clustered[cell]:
        return None
    n = int(audit.n[cell])
    return accuracy_lower_bound(round(float(audit.float_accuracy[cell]) * n), n, alpha)


def cell_lower_bound(
    cells: Cells, audit: Counts, row: int, cell: int, alpha: float
) -> float | None:
    """Lower bound of one trial's accuracy in one cell.

    Args:
        cells: The cells.
        audit: Audit counts.
        row: The trial's row.
        cell: The cell.
        alpha: Error.

    Returns:
        The bound; None where samples are clustered and their clusters are not known.
    """
    found = audit.clusters.get(cell)
    if found is not None:
        return clustered_accuracy_lower_bound(found.size, found.right - found.net[row], alpha)
    if cells.clustered[cell]:
        return None
    n = int(audit.n[cell])
    right = round(float(audit.float_accuracy[cell]) * n)
    return accuracy_lower_bound(
        right - int(audit.lost[row, cell] - audit.gained[row, cell]), n, alpha
    )
