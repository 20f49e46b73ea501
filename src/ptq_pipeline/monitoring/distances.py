"""Distances between two samples of one column, without pixels, p-values or random numbers.

Evidently computes the values that stand in the drift table; these are the same formulas, written so
that thousands of resamples cost a second. A test holds the two together.
"""

import numpy as np
import pandas as pd

WASSERSTEIN = "wasserstein"
JENSEN_SHANNON = "jensenshannon"
METHODS = (WASSERSTEIN, JENSEN_SHANNON)
# Evidently divides by the reference's standard deviation, but never by less than this.
SMALLEST_SCALE = 0.001


def distance(method: str, reference: pd.Series, current: pd.Series) -> float:
    """Return the distance of two samples; larger is further apart, 0 is the same distribution.

    Args:
        method: ``wasserstein`` (numeric: first Wasserstein distance in units of the reference's
            standard deviation) or ``jensenshannon`` (categorical: square root of the Jensen-Shannon
            divergence in nats, at most 0.833).
        reference: ``(R,)`` values.
        current: ``(N,)`` values.

    Raises:
        ValueError: for another method.
    """
    if method == WASSERSTEIN:
        support, codes = np.unique(
            np.concatenate([reference.to_numpy(float), current.to_numpy(float)]),
            return_inverse=True,
        )
    elif method == JENSEN_SHANNON:
        labels = pd.concat([reference, current]).astype(str)
        support, codes = np.unique(labels.to_numpy(str), return_inverse=True)
    else:
        raise ValueError(f"method must be one of {METHODS}, got '{method}'")
    counts = [
        np.bincount(part, minlength=len(support)).astype(float)
        for part in (codes[: len(reference)], codes[len(reference) :])
    ]
    if method == WASSERSTEIN:
        return normed_wasserstein(support, *counts)
    return jensen_shannon(*counts)


def normed_wasserstein(support: np.ndarray, reference: np.ndarray, current: np.ndarray) -> float:
    """Return the first Wasserstein distance in units of the reference's standard deviation.

    Args:
        support: ``(K,)`` increasing values.
        reference: ``(K,)`` weights of the reference at these values.
        current: ``(K,)`` weights of the current sample.
    """
    p, q = reference / reference.sum(), current / current.sum()
    gap = np.abs(np.cumsum(p - q)[:-1]) @ np.diff(support)
    centre = p @ support
    scale = np.sqrt(p @ (support - centre) ** 2)
    return float(gap / max(scale, SMALLEST_SCALE))


def jensen_shannon(reference: np.ndarray, current: np.ndarray) -> float:
    """Return the Jensen-Shannon distance of two weight vectors ``(K,)``.

    The square root of the divergence in nats (Endres and Schindelin, IEEE Transactions on
    Information Theory 49(7), 2003).
    """
    p, q = reference / reference.sum(), current / current.sum()
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return float(np.sqrt(max(divergence, 0.0)))


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> float:
    present = p > 0
    return float(p[present] @ np.log(p[present] / q[present]))
